"""A daemon that starts while the one before it still has the lock."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.containerd import RELEASES, RealContainerd
from testbed.program import Installer, snapshot
from testbed.supervised import wait_for
from tests.engine.resident import free_port, installer_of, served, wait_idle, wait_probe, wait_said
from toolkit.errors import ExitCode

pytestmark = [
    pytest.mark.engine,
    pytest.mark.parametrize("containerd_release", RELEASES[-1:], ids=lambda each: each.series),
]
WAITING = "waiting for the daemon that has the lock to stop"


class Successor(Installer):
    """The same install in the same place, with a log of its own."""

    @property
    def log_file(self) -> Path:
        return self.directory / "successor.log"


@pytest.fixture
def first(containerd: RealContainerd) -> Iterator[Installer]:
    health = f"127.0.0.1:{free_port()}"
    program = installer_of(
        containerd,
        TOOLKIT_STOP_TIMEOUT="20",
        TOOLKIT_ON_EXIT="revert",
        TOOLKIT_HEALTH_ADDRESS=health,
    )
    yield program
    program.end()


@pytest.fixture
def second(first: Installer) -> Iterator[Successor]:
    program = Successor(first.directory, first.variables)
    yield program
    program.end()


def test_it_waits_for_a_predecessor_that_stops_and_takes_over(
    containerd: RealContainerd, first: Installer, second: Successor
) -> None:
    containerd.start()
    before = snapshot(containerd.config.parent)
    first.start()
    wait_idle(first)
    second.start()
    wait_said(second, WAITING)
    assert first.stop() == 0, first.log()
    wait_said(second, " ready ")
    wait_idle(second)
    assert served(containerd, second)
    wait_probe(int(second.variables["TOOLKIT_HEALTH_ADDRESS"].rpartition(":")[2]), "/readyz", 200)
    assert second.stop() == 0, second.log()
    assert snapshot(containerd.config.parent) == before
    assert not second.install_dir.exists()


def test_a_predecessor_that_stays_keeps_the_lock(
    containerd: RealContainerd, first: Installer, second: Successor
) -> None:
    second.variables = {**first.variables, "TOOLKIT_STOP_TIMEOUT": "0"}
    containerd.start()
    first.start()
    wait_idle(first)
    second.start()
    assert second.process is not None
    assert second.process.wait(60) == ExitCode.LOCKED, second.log()
    assert WAITING in second.log()
    assert first.ready_file.exists()
    assert served(containerd, first)
    assert first.stop() == 0


def test_a_signal_ends_the_wait(
    containerd: RealContainerd, first: Installer, second: Successor
) -> None:
    containerd.start()
    first.start()
    wait_idle(first)
    second.start()
    wait_said(second, WAITING)
    assert second.stop(signal.SIGTERM) == ExitCode.FAILED, second.log()
    assert served(containerd, first)
    assert first.stop() == 0


def test_one_of_another_journal_waits_for_nobody(
    containerd: RealContainerd, first: Installer, second: Successor
) -> None:
    second.variables = {**first.variables, "ROOT": str(first.directory / "elsewhere")}
    containerd.start()
    first.start()
    wait_idle(first)
    second.start()
    assert second.process is not None
    assert second.process.wait(60) == ExitCode.LOCKED, second.log()
    assert WAITING not in second.log()
    assert first.stop() == 0


def test_another_program_that_has_the_lock_is_not_waited_for(
    containerd: RealContainerd, second: Successor
) -> None:
    """As NVIDIA's installer takes it: the same flock on the same file."""
    containerd.start()
    second.pid_file.parent.mkdir()
    second.pid_file.touch()
    holds = 'echo $$ >"$1"; exec sleep 60'
    holder = subprocess.Popen(
        ("/usr/bin/flock", "--no-fork", second.pid_file, "sh", "-c", holds, "sh", second.pid_file)
    )
    try:
        wait_for(second.pid_file.read_text, "the holder's PID")
        second.start()
        assert second.process is not None
        assert second.process.wait(60) == ExitCode.LOCKED, second.log()
    finally:
        holder.kill()
        holder.wait()
    assert WAITING not in second.log()
