from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from toolkit.errors import EngineNotFoundError
from toolkit.host.commands import HostCommands
from toolkit.host.processes import PidfdSignaller, ProcFs

COMMANDS = HostCommands("/")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(("/bin/sleep", "60")) as child:
        yield child
        child.kill()


def test_a_process_is_described_from_proc() -> None:
    own = ProcFs().find(os.getpid())
    assert own is not None
    assert own.parent_pid == os.getppid()
    assert own.executable == os.path.realpath(sys.executable)
    assert own.arguments[0]
    assert own.start_time > 0
    assert own in list(ProcFs().all())


def test_a_process_that_is_not_there_is_none() -> None:
    assert ProcFs().find(0) is None
    assert ProcFs().find(-1) is None
    assert ProcFs().find(2**22 + 1) is None


def test_a_zombie_counts_as_gone() -> None:
    with subprocess.Popen(("/bin/true",)) as child:
        time.sleep(0.1)
        assert ProcFs().find(child.pid) is None


def test_a_process_whose_binary_was_replaced_is_named_by_its_path(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    program = tmp_path_factory.mktemp("bin") / "engine"
    shutil.copyfile("/bin/sleep", program)
    program.chmod(0o755)
    with subprocess.Popen((program, "60")) as child:
        program.unlink()
        found = ProcFs().find(child.pid)
        assert found is not None
        assert found.executable == str(program)
        child.kill()


def test_a_held_process_gets_the_signal_and_its_end_is_seen(
    sleeper: subprocess.Popen[bytes],
) -> None:
    found = ProcFs().find(sleeper.pid)
    assert found is not None
    handle = PidfdSignaller(ProcFs()).hold(found.pid, found.start_time)
    assert not handle.wait_gone(0.01)
    handle.signal(signal.SIGHUP)
    assert handle.wait_gone(5.0)
    handle.signal(signal.SIGHUP)
    handle.close()
    assert sleeper.wait() == -signal.SIGHUP


@pytest.mark.parametrize("pid", [-1, 0, 1])
def test_no_process_group_and_no_init_is_ever_held(pid: int) -> None:
    with pytest.raises(EngineNotFoundError, match="never signalled"):
        PidfdSignaller(ProcFs()).hold(pid, 0)


def test_a_pid_with_another_start_time_is_another_process(
    sleeper: subprocess.Popen[bytes],
) -> None:
    with pytest.raises(EngineNotFoundError, match="not the engine any more"):
        PidfdSignaller(ProcFs()).hold(sleeper.pid, 1)


def test_a_command_returns_status_output_and_errors() -> None:
    result = COMMANDS.run(("sh", "-c", "echo out; echo bad >&2; exit 3"), 5.0)
    assert (result.status, result.output, result.errors) == (3, b"out\n", "bad\n")
    assert result.reason == "bad"


def test_a_command_that_is_not_there_is_told() -> None:
    result = COMMANDS.run(("/no/such/program",), 5.0)
    assert result.status == 127
    assert "/no/such/program" in result.reason


def test_a_command_is_killed_with_its_children_at_the_deadline() -> None:
    began = time.monotonic()
    result = COMMANDS.run(("sh", "-c", "sleep 60 & sleep 60"), 0.2)
    assert result.timed_out
    assert time.monotonic() - began < 3.0


def test_a_grandchild_that_keeps_the_pipe_open_is_not_waited_for() -> None:
    began = time.monotonic()
    result = COMMANDS.run(("sh", "-c", "setsid sleep 3 & echo done"), 10.0)
    assert result.output == b"done\n"
    assert time.monotonic() - began < 2.0


def test_a_large_output_arrives_whole() -> None:
    result = COMMANDS.run(("head", "-c", "3000000", "/dev/zero"), 10.0)
    assert len(result.output) == 3_000_000


def test_a_command_starts_with_an_empty_signal_mask() -> None:
    masks: list[str] = []

    def blocked() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
        masks.append(COMMANDS.run(("grep", "SigBlk", "/proc/self/status"), 5.0).output.decode())

    thread = threading.Thread(target=blocked)
    thread.start()
    thread.join()
    assert masks[0].split() == ["SigBlk:", "0" * 16]


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
def test_a_command_runs_in_the_host_root(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("root")
    result = HostCommands(str(root)).run(("sh",), 5.0)
    assert result.status == 127
    assert "sh" in result.reason
