"""What a person reads on a terminal: columns within 80, problems first, a line that sums up."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.commands import RecordingCommands
from tests.unit.cli_session import call, settings_of
from toolkit import logs
from toolkit.errors import ExitCode
from toolkit.report.doctor.findings import Finding, Verdict, identified, ok, warning
from toolkit.report.doctor.layout import doctor_lines, doctor_records, summary
from toolkit.report.layout import WIDTH, status_lines
from toolkit.settings import Color, Output, Settings

PATH = "/usr/local/nvidia/toolkit/nvidia-container-runtime"


def finding(verdict: Verdict, check: str = "x", message: str = "m", fix: str = "") -> Finding:
    return Finding(check=check, verdict=verdict, message=message, fix=fix)


def texts(*findings: Finding) -> list[str]:
    return [line.text for line in doctor_lines(findings)]


def test_problems_come_first_and_columns_are_aligned() -> None:
    shown = texts(
        finding(Verdict.OK, "versions", "installer 1"),
        finding(Verdict.WARNING, "driver", "the module is not loaded " * 3, "install it"),
        finding(Verdict.PROBLEM, "engine", "containerd can't be reached", "start containerd"),
    )
    assert shown == [
        "problem  engine    containerd can't be reached",
        "                   fix: start containerd",
        "warning  driver    the module is not loaded the module is not loaded the module",
        "                   is not loaded",
        "                   fix: install it",
        "ok       versions  installer 1",
        "1 problem, 1 warning: fix the problem, then start",
    ]


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], "no problems: ready to start"),
        ([Verdict.OK, Verdict.UNKNOWN], "no problems: ready to start"),
        ([Verdict.WARNING, Verdict.WARNING], "2 warnings: ready to start"),
        (
            [Verdict.PROBLEM, Verdict.WARNING, Verdict.PROBLEM],
            "2 problems, 1 warning: fix the problems, then start",
        ),
    ],
)
def test_the_last_line_sums_up(verdicts: list[Verdict], expected: str) -> None:
    assert summary(verdicts).text == expected


WORDS = st.lists(st.text("ab/", min_size=1, max_size=50), max_size=30).map(" ".join)


@given(st.lists(st.builds(finding, st.sampled_from(Verdict), st.text("ab", max_size=17), WORDS)))
def test_no_line_is_longer_than_80_and_no_word_is_lost(findings: list[Finding]) -> None:
    shown = texts(*findings)
    assert max(map(len, shown)) <= WIDTH
    words = " ".join(shown).split()
    assert all(words.count(word) for each in findings for word in each.message.split())


def test_in_a_pipe_each_finding_is_a_line_of_its_own() -> None:
    long = finding(Verdict.PROBLEM, "engine", "word " * 40 + "end", "fix it")
    (line,) = doctor_records([long])
    assert line.text == f"problem  engine: {'word ' * 40}end -> fix it"


STATUS = {
    "state": "ready",
    "pid": 42,
    "ready": True,
    "mode": "engine config",
    "driver": "loaded",
    "engine": "containerd",
    "handlers": {"nvidia": PATH, "nvidia-legacy": f"{PATH}.legacy"},
    "default": "nvidia",
    "files": {"/etc/containerd/config.toml": "as we left it", "/etc/x": "changed"},
    "payload": {"directory": "/opt/toolkit", "digest": "0123456789abcdef" * 4, "intact": True},
    "served": {"nvidia": PATH, "nvidia-legacy": f"{PATH}.legacy", "runc": None},
}


def test_status_has_one_handler_a_line_and_a_short_digest() -> None:
    shown = [line.text for line in status_lines(STATUS)]
    assert shown == [
        "state    ready",
        "ready    yes, PID 42",
        "mode     engine config",
        "driver   loaded",
        "engine   containerd",
        "payload  /opt/toolkit, 0123456789ab, intact",
        "files",
        "  as we left it  /etc/containerd/config.toml",
        "  changed        /etc/x",
        "handlers, as the engine serves them (default nvidia)",
        f"  nvidia         {PATH}",
        f"  nvidia-legacy  {PATH}.legacy",
        "  runc           -",
    ]
    assert max(map(len, shown)) <= WIDTH


def test_status_says_of_a_handler_that_it_is_not_served_or_is_anothers() -> None:
    served = {"nvidia": "/other/runtime"}
    shown = [line.text for line in status_lines({**STATUS, "served": served})]
    assert f"  nvidia         served with /other/runtime, set up with {PATH}" in shown
    assert f"  nvidia-legacy  not served, set up with {PATH}.legacy" in shown
    down = [line.text for line in status_lines({**STATUS, "served": "containerd is down"})]
    assert "served   containerd is down" in down
    assert "handlers, as set up (default nvidia)" in down
    (state, _) = status_lines({"state": "unknown: host root /x is not a directory"})
    assert state.text == "state    unknown: host root /x is not a directory"


def test_each_finding_has_an_identifier_of_its_own() -> None:
    found = [ok("host root", "/"), warning("settings", "a"), warning("settings", "b")]
    assert [each.identifier for each in identified(found)] == [
        "host-root",
        "settings",
        "settings.2",
    ]


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        ([], {}, Color.AUTO),
        ([], {"NO_COLOR": "1"}, Color.NEVER),
        ([], {"NO_COLOR": "anything"}, Color.NEVER),
        ([], {"NO_COLOR": ""}, Color.AUTO),
        (["--color=always"], {"NO_COLOR": "1"}, Color.ALWAYS),
        (["--color", "never"], {}, Color.NEVER),
    ],
)
def test_the_flag_wins_over_no_color(
    arguments: list[str], environ: dict[str, str], expected: Color
) -> None:
    assert settings_of(*arguments, **environ).color is expected


def run(*arguments: str, terminal: bool, **variables: str) -> str:
    """Return what `doctor` shows: on a terminal, or in a pipe."""
    ours, theirs = pty.openpty() if terminal else os.pipe()
    environ = {"HOST_ROOT_MOUNT": "/", "RUNTIME": "containerd", **variables}
    command = (sys.executable, "-m", "toolkit", "doctor", *arguments)
    with subprocess.Popen(
        command,
        env=environ,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    ):
        os.close(theirs)
        parts = []
        while True:
            try:
                parts.append(os.read(ours, 65536))
            except OSError:  # the terminal's other end is closed
                break
            if not parts[-1]:
                break
    os.close(ours)
    return b"".join(parts).decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("arguments", "environ", "terminal", "coloured"),
    [
        ([], {}, True, True),
        ([], {}, False, False),
        ([], {"NO_COLOR": "1"}, True, False),
        (["--color=never"], {}, True, False),
        (["--color=always"], {}, False, True),
        (["--color=always"], {"NO_COLOR": "1"}, True, True),
    ],
)
def test_colours_follow_terminal_flag_and_variable(
    tmp_path: Path,
    arguments: list[str],
    environ: dict[str, str],
    *,
    terminal: bool,
    coloured: bool,
) -> None:
    where = {"CONTAINERD_SOCKET": str(tmp_path / "none"), "ROOT": str(tmp_path / "nvidia")}
    shown = run(*arguments, terminal=terminal, **environ, **where)
    assert ("\x1b[31mproblem" in shown) is coloured
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert plain.startswith("problem  ") or not terminal
    assert ("then start\n" in plain) is terminal


def test_the_logs_levels_have_colours_where_they_are_wanted() -> None:
    stream = io.StringIO()
    for color, expected in (("always", "\x1b[33mWARNING\x1b[0m x"), ("auto", "WARNING x")):
        logs.configure("text", debug=False, stream=stream, color=color)
        logs.get("x").warning("a.b", "x")
        assert stream.getvalue().endswith(f"{expected}\n")
    logs.configure("json", debug=False, stream=stream, color="always")
    logs.get("x").warning("a.b", "x")
    assert json.loads(stream.getvalue().splitlines()[-1])["level"] == "warning"
    logs.configure("text", debug=False)


@pytest.mark.parametrize(
    ("arguments", "kind", "code"),
    [
        (["plan", "--output=json", "--pid-file=/x"], "usage", 2),
        (["status", "--output", "json", "--purge"], "usage", 2),
        (["verify", "--output=json", "--bogus"], "usage", 2),
    ],
)
def test_a_failure_is_a_document_too(
    arguments: list[str], kind: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments)[0] == code
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1
    assert set(document["error"]) == {"kind", "message", "fix", "exit_code"}
    assert (document["error"]["kind"], document["error"]["exit_code"]) == (kind, code)


def test_a_command_that_fails_prints_a_document_where_one_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (sys.executable, "-m", "toolkit", "plan", "--output=json")
    done = subprocess.run(
        command,
        env={"HOST_ROOT_MOUNT": str(tmp_path / "none")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitCode.FAILED
    error = json.loads(done.stdout)["error"]
    assert error["message"].startswith(f"host root {tmp_path}/none is not a directory")
    assert error["message"] in done.stderr
    call("--output=json")
    assert capsys.readouterr().out == ""


class Broken(RecordingCommands):
    """A program with a mistake in it."""

    def status(self, settings: Settings, output: Output) -> ExitCode:
        raise ValueError(f"{settings.runtime} {output}")


def test_a_mistake_in_the_program_itself_is_a_document_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _ = call("status", "--output=json", commands=Broken())
    document = json.loads(capsys.readouterr().out)
    assert (code, document["error"]["kind"]) == (ExitCode.FAILED, "failed")
    assert document["error"]["message"] == "unexpected ValueError: None json"
