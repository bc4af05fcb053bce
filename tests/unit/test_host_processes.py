from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.supervised import wait_for
from toolkit.errors import EngineNotFoundError
from toolkit.host.commands import HostCommands
from toolkit.host.processes import PidfdSignaller, ProcessFacts, ProcessTable, has_root

COMMANDS = HostCommands("/")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="other roots and mounts need root")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(("/bin/sleep", "60")) as child:
        yield child
        child.kill()


def test_a_process_is_described_from_proc() -> None:
    own = ProcessTable().find(os.getpid())
    assert own is not None
    assert own.parent_pid == os.getppid()
    assert own.executable == os.path.realpath(sys.executable)
    assert own.arguments[0]
    assert own.start_time > 0
    assert own in list(ProcessTable().all())


def test_a_process_that_is_not_there_is_none() -> None:
    assert ProcessTable().find(0) is None
    assert ProcessTable().find(-1) is None
    assert ProcessTable().find(2**22 + 1) is None


def test_a_zombie_counts_as_gone() -> None:
    with subprocess.Popen(("/bin/true",)) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert ProcessTable().find(child.pid) is None


def test_a_process_whose_binary_was_replaced_is_named_by_its_path(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    program = tmp_path_factory.mktemp("bin") / "engine"
    shutil.copyfile("/bin/sleep", program)
    program.chmod(0o755)
    with subprocess.Popen((program, "60")) as child:
        program.unlink()
        found = ProcessTable().find(child.pid)
        assert found is not None
        assert found.executable == str(program)
        child.kill()


def test_a_held_process_gets_the_signal_and_its_end_is_seen(
    sleeper: subprocess.Popen[bytes],
) -> None:
    found = ProcessTable().find(sleeper.pid)
    assert found is not None
    handle = PidfdSignaller(ProcessTable()).hold(found.pid, found.start_time)
    assert not handle.wait_gone(0.01)
    handle.signal(signal.SIGHUP)
    assert handle.wait_gone(5.0)
    handle.signal(signal.SIGHUP)
    handle.close()
    assert sleeper.wait() == -signal.SIGHUP


@pytest.mark.parametrize("pid", [-1, 0, 1])
def test_no_process_group_and_no_init_is_ever_held(pid: int) -> None:
    with pytest.raises(EngineNotFoundError, match="never signalled"):
        PidfdSignaller(ProcessTable()).hold(pid, 0)


def test_a_pid_with_another_start_time_is_another_process(
    sleeper: subprocess.Popen[bytes],
) -> None:
    with pytest.raises(EngineNotFoundError, match="no longer the engine"):
        PidfdSignaller(ProcessTable()).hold(sleeper.pid, 1)


def test_a_command_returns_status_output_and_errors() -> None:
    result = COMMANDS.run(("sh", "-c", "echo out; echo bad >&2; exit 3"), 5.0)
    assert (result.status, result.output, result.errors) == (3, b"out\n", "bad\n")
    assert result.reason == "bad"


def test_a_command_that_is_not_there_is_told() -> None:
    result = COMMANDS.run(("/no/such/program",), 5.0)
    assert result.status == 127
    assert "/no/such/program" in result.reason


def test_a_command_is_killed_with_its_children_at_the_deadline() -> None:
    result = COMMANDS.run(("sh", "-c", "sleep infinity & echo $!; sleep infinity"), 1.0)
    assert result.timed_out
    child = int(result.output)
    wait_for(lambda: ProcessTable().find(child) is None, "the end of the child")


def test_a_grandchild_that_keeps_the_pipe_open_is_not_waited_for() -> None:
    result = COMMANDS.run(("sh", "-c", "setsid sleep infinity & echo $!"), 3600.0)
    assert not result.timed_out
    os.kill(int(result.output), signal.SIGKILL)


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


@contextmanager
def running(*arguments: str) -> Iterator[ProcessFacts | None]:
    """Start a program that says when it is there, and describe it as the host's or not."""
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"there\n"
        yield ProcessTable().find(child.pid)
        child.kill()


ELSEWHERE = """
import os, sys, time
os.chroot(sys.argv[1])
print("there", flush=True)
time.sleep(60)
"""
PRIVATE = "mount -t tmpfs none /mnt && echo there && exec sleep 60"
AS_PID_1 = """
import os, sys
from toolkit.host.processes import ProcessTable
print(os.getpid(), ProcessTable(root=sys.argv[1]).find(1).on_host)
"""


@as_root
def test_a_process_with_another_root_is_not_the_hosts(tmp_path: Path) -> None:
    with running(sys.executable, "-c", ELSEWHERE, str(tmp_path)) as found:
        assert found is not None
        assert found.on_host is False
        seen_from_there = ProcessTable(root=str(tmp_path)).find(found.pid)
        assert seen_from_there is not None
        assert seen_from_there.on_host is True


@as_root
def test_a_service_with_namespaces_of_its_own_is_the_hosts() -> None:
    with running("unshare", "--mount", "--ipc", "--uts", "sh", "-c", PRIVATE) as found:
        assert found is not None
        assert found.on_host is True


@as_root
def test_the_root_of_the_first_process_is_the_hosts_whatever_was_mounted(tmp_path: Path) -> None:
    alone = ("unshare", "--pid", "--fork", "--mount-proc")
    said = COMMANDS.run((*alone, sys.executable, "-c", AS_PID_1, str(tmp_path)), 20.0)
    assert said.output == b"1 True\n", said.errors


def test_a_root_that_may_not_be_looked_at_tells_nothing(tmp_path: Path) -> None:
    assert has_root(str(tmp_path), os.getpid(), "/") is None


@as_root
def test_a_command_runs_in_the_host_root(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("root")
    result = HostCommands(str(root)).run(("sh",), 5.0)
    assert result.status == 127
    assert "sh" in result.reason
