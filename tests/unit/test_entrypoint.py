from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "entrypoint.sh"


class Node:
    """A directory of validations and a stand-in for the daemon that tells how it was called."""

    def __init__(self, directory: Path) -> None:
        self.validations = directory / "validations"
        self.ready = self.validations / "driver-ready"
        self.called = directory / "called"
        binaries = directory / "bin"
        binaries.mkdir()
        daemon = binaries / "nvidia-toolkit"
        daemon.write_text(
            "#!/bin/sh\n"
            f'{{ printf "pid=%s\\n" "$$"; printf "arg=%s\\n" "$@"; env; }} > {self.called}.new\n'
            f"mv {self.called}.new {self.called}\n"
        )
        daemon.chmod(0o755)
        self.environ = {
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "TOOLKIT_VALIDATIONS_DIR": str(self.validations),
        }
        self.started: list[subprocess.Popen[str]] = []

    def sleep_for_ever(self) -> None:
        """Make each of the script's naps endless: a signal that waits for one never comes."""
        sleep = self.validations.parent / "bin/sleep"
        sleep.write_text("#!/bin/sh\nexec /bin/sleep infinity\n")
        sleep.chmod(0o755)

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            ["/bin/sh", str(SCRIPT), *arguments],
            env=self.environ | environ,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process


TEXT_TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    for process in node.started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline()


def test_without_the_directory_the_daemon_takes_the_shells_place_at_once(node: Node) -> None:
    process = node.start("--root=/a b", "")
    assert process.wait(60) == 0
    lines = node.called.read_text().splitlines()
    assert [f"pid={process.pid}", "arg=--root=/a b", "arg="] == lines[:3]


def test_it_waits_for_the_driver_and_hands_on_what_that_says(node: Node) -> None:
    node.validations.mkdir()
    process = node.start("--no-daemon")
    assert "waiting for the driver" in first_line(process)
    assert not node.called.exists()
    node.ready.write_text("NVIDIA_DRIVER_ROOT=/\nDRIVER_ROOT_CTR_PATH=/host\nX=$UNSET_ELSEWHERE\n")
    assert process.wait(60) == 0
    called = node.called.read_text().splitlines()
    assert f"pid={process.pid}" in called
    assert "NVIDIA_DRIVER_ROOT=/" in called
    assert "DRIVER_ROOT_CTR_PATH=/host" in called


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait_at_once_and_leaves_no_process(
    node: Node, number: signal.Signals
) -> None:
    node.validations.mkdir()
    node.sleep_for_ever()
    process = node.start()
    first_line(process)
    process.send_signal(number)
    assert process.wait(60) == 0
    assert not node.called.exists()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


@pytest.mark.parametrize("word", ["plan", "doctor", "status", "verify", "revert", "--help", "-v"])
def test_a_command_that_needs_no_driver_does_not_wait_for_one(node: Node, word: str) -> None:
    node.validations.mkdir()
    assert node.start(word).wait(60) == 0
    assert f"arg={word}" in node.called.read_text().splitlines()


@pytest.mark.parametrize(
    ("variable", "arguments", "form"),
    [
        ("json", [], "json"),
        ("text", [], "text"),
        ("text", ["--log-format=json"], "json"),
        ("text", ["-log-format", "json"], "json"),
        ("json", ["--log-format=text", "-n"], "text"),
    ],
)
def test_the_line_about_waiting_has_the_form_and_the_time_of_the_programs_own(
    node: Node, variable: str, arguments: list[str], form: str
) -> None:
    node.validations.mkdir()
    line = first_line(node.start(*arguments, TOOLKIT_LOG_FORMAT=variable))
    if form == "json":
        record = json.loads(line)
        assert record["event"] == "driver.awaited"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["time"])
    else:
        assert re.match(
            r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO    waiting for the driver: ", line
        )
