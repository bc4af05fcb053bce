from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.commands import RecordingCommands
from tests.unit.cli_session import call
from toolkit import cli
from toolkit.errors import ExitCode, PayloadError
from toolkit.settings import Output
from toolkit.version import VERSION

ROOT = Path(__file__).parents[2]


def test_without_a_command_the_daemon_runs() -> None:
    code, commands = call("/opt/nvidia", "--debug", "-r=crio")
    assert code == ExitCode.DONE
    ((name, settings, _),) = commands.calls
    assert name == "run"
    assert settings.install_dir == "/opt/nvidia"


@pytest.mark.parametrize(
    ("arguments", "name", "options"),
    [
        (["plan"], "plan", {"output": Output.TEXT, "detailed_exitcode": False}),
        (
            ["--detailed-exitcode", "--output", "json", "plan"],
            "plan",
            {"output": Output.JSON, "detailed_exitcode": True},
        ),
        (["revert", "--purge"], "revert", {"output": Output.TEXT, "purge": True}),
        (["status", "-output=json"], "status", {"output": Output.JSON}),
        (["verify"], "verify", {"output": Output.TEXT, "run": False}),
        (["verify", "--run"], "verify", {"output": Output.TEXT, "run": True}),
        (["--verify=run", "verify"], "verify", {"output": Output.TEXT, "run": False}),
        (["doctor", "/opt/nvidia"], "doctor", {"output": Output.TEXT}),
    ],
)
def test_options_go_before_or_behind_the_command(
    arguments: list[str], name: str, options: dict[str, object]
) -> None:
    _, commands = call(*arguments)
    ((called, _, given),) = commands.calls
    assert (called, given) == (name, options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output=json"], "--output is only valid with 'plan', 'status', 'verify', 'doctor', "),
        (["status", "--purge"], "--purge is only valid with 'revert'"),
        (["status", "--run"], "--run is only valid with 'verify'"),
        (["--verify=pods"], "--verify: 'pods' "),
        (["verify", "-detailed-exitcode"], "-detailed-exitcode is only valid with 'plan'"),
        (["plan", "--output=yaml"], "--output: 'yaml' "),
        (["plan", "--detailed-exitcode=maybe"], "--detailed-exitcode: 'maybe' "),
        (["--debug=perhaps"], "--debug: 'perhaps' "),
    ],
)
def test_a_usage_error_is_one_line_and_exit_code_2_and_nothing_runs(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, commands = call(*arguments)
    assert (code, commands.calls) == (ExitCode.USAGE, [])
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert f" ERROR   {message}" in line


def test_a_usage_error_has_the_form_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    call("--bogus", TOOLKIT_LOG_FORMAT="json")
    assert json.loads(capsys.readouterr().err)["event"] == "usage.refused"
    call("--log-format=json", "--pid-file=/x")
    record = json.loads(capsys.readouterr().err)
    assert record["message"].startswith("--pid-file: ")
    call("--log-format=xml", TOOLKIT_LOG_FORMAT="yaml")
    assert " ERROR   --log-format: " in capsys.readouterr().err


@pytest.mark.parametrize("said", [["--log-format=json"], ["-log-format", "json"]])
@pytest.mark.parametrize("wrong", [["--bogus"], ["nonsense"], ["--root"], ["--root=x"]])
def test_a_command_line_that_can_not_be_read_is_refused_in_the_form_that_it_asks_for(
    said: list[str], wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if len(wrong[0]) > len("--root"):  # it takes no next argument as its value
        call(*wrong, *said)
        assert json.loads(capsys.readouterr().err)["event"] == "usage.refused"
    assert call(*said, "--debug", *wrong)[0] == ExitCode.USAGE
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["usage.refused", "program.traceback"]
    call(*said, *wrong, TOOLKIT_DEBUG="yes")
    assert "program.traceback" in capsys.readouterr().err
    call(*said, "--debug=no", *wrong, TOOLKIT_DEBUG="yes")
    assert "program.traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("code", list(ExitCode))
def test_the_commands_answer_is_the_exit_code(code: ExitCode) -> None:
    assert call("status", commands=RecordingCommands(answer=code))[0] == code


def test_a_known_failure_is_one_line_and_a_traceback_only_with_debug(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failure = PayloadError("/artifacts/deb is missing", "mount it", ExitCode.NOT_RESTORED)
    code, _ = call(commands=RecordingCommands(failure=failure))
    assert code == ExitCode.NOT_RESTORED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("ERROR   /artifacts/deb is missing; mount it")
    call("--debug", commands=RecordingCommands(failure=failure))
    assert "Traceback" in capsys.readouterr().err


def test_an_unknown_failure_names_its_type_and_how_to_see_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    commands = RecordingCommands(failure=ZeroDivisionError("by\nnought"))
    assert call(commands=commands)[0] == ExitCode.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("unexpected ZeroDivisionError: by\\nnought; --debug shows where")
    call("--debug", commands=commands)
    assert "Traceback" in capsys.readouterr().err


def test_warnings_of_the_settings_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    call("--runtime-name=nvidia-cdi")
    assert "WARNING --runtime-name: nvidia-cdi is added anyway" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--version", "-v", "-version"])
def test_the_version_goes_to_stdout(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(flag)[0] == ExitCode.DONE
    assert capsys.readouterr().out == f"nvidia-toolkit {VERSION}\n"


def test_the_program_is_shown_by_the_name_it_was_called(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cli.run(
        ["plan", "-h"], environ={}, commands=RecordingCommands(), program="nvidia-ctk-installer"
    )
    assert capsys.readouterr().out.startswith("Usage: nvidia-ctk-installer plan [OPTIONS]\n")


def test_ctrl_c_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("doctor", commands=RecordingCommands(failure=KeyboardInterrupt()))[0] == 130
    assert capsys.readouterr().err == ""


def test_an_error_in_help_is_still_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help", "--bogus")[0] == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert "ERROR   --bogus: unknown option" in err


def run_in_a_pipe_that_nobody_reads(code: str) -> tuple[int, str]:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writer)
    return result.returncode, result.stderr


def test_a_reader_of_the_result_that_went_away_is_no_crash() -> None:
    assert run_in_a_pipe_that_nobody_reads(
        "import sys; from toolkit.__main__ import main; sys.exit(main(['--help']))"
    ) == (ExitCode.FAILED, "")


def test_a_broken_connection_to_an_engine_is_not_taken_for_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _ = call(commands=RecordingCommands(failure=BrokenPipeError("engine")))
    assert code == ExitCode.FAILED
    assert "unexpected BrokenPipeError" in capsys.readouterr().err


def test_signals_are_blocked_for_the_daemon_and_let_through_for_a_reader() -> None:
    code = (
        "import signal, sys, types\n"
        "import toolkit.daemon, toolkit.report\n"
        "def mask(*_a, **_k):\n"
        "    print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))\n"
        "    return 0\n"
        "for package, name in ((toolkit.daemon, 'process'), (toolkit.report, 'output')):\n"
        "    module = types.ModuleType(f'{package.__name__}.{name}')\n"
        "    module.run = module.status = mask\n"
        "    sys.modules[module.__name__] = module\n"
        "    setattr(package, name, module)\n"
        "from toolkit.__main__ import main\n"
        "main([])\n"
        "main(['status'])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    blocked, free = result.stdout.splitlines()
    assert all(name in blocked for name in ("SIGTERM", "SIGINT", "SIGQUIT"))
    assert free == "[]"
