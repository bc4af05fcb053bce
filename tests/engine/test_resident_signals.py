"""Signals at any moment of the life cycle, a kill among them: each ends in a clean state."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.containerd import RELEASES, RealContainerd
from testbed.program import HANDLERS, Installer, snapshot
from testbed.supervised import wait_for
from tests.engine.resident import Moved, installer_of, served, wait_idle, wait_said

pytestmark = [
    pytest.mark.engine,
    pytest.mark.parametrize(
        "containerd_release",
        [each for each in RELEASES if each.series == "1.7"],
        ids=lambda each: f"containerd-{each.series}",
    ),
]
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
SEED = 20261


@pytest.fixture
def installer(containerd: RealContainerd) -> Iterator[Installer]:
    program = installer_of(containerd, TOOLKIT_VERIFY_TIMEOUT="30", TOOLKIT_STOP_TIMEOUT="20")
    yield program
    program.end()


def life(containerd: RealContainerd, installer: Installer) -> float:
    """Return how many seconds pass here and now until a start has led to a repair."""
    began = time.monotonic()
    installer.start()
    installer.wait_ready()
    containerd.config.unlink()
    wait_said(installer, " repaired ")
    lasted = time.monotonic() - began
    assert installer.stop() == 0, installer.log()
    return lasted


def live(installer: Installer, config: Path, moment: float, choice: random.Random) -> None:
    """Let it live so long, with a drift on the way to be repaired."""
    end = time.monotonic() + moment
    installer.start()
    drifted = choice.random() < 0.5
    while time.monotonic() < end:
        if drifted and installer.ready_file.exists():
            drifted = False
            config.unlink(missing_ok=True)
        time.sleep(0.005)


def clean(
    containerd: RealContainerd, installer: Installer, before: dict[str, tuple[object, ...]]
) -> bool:
    """Tell whether nothing of it is left; a directory that a killed one made may be."""
    containerd.wait_ready()
    found = containerd.cri.served()
    return (
        snapshot(containerd.config.parent) == before
        and not set(found.handlers) & set(HANDLERS)
        and found.default == "runc"
        and not installer.install_dir.exists()
        and not installer.pid_file.exists()
        and not installer.ready_file.exists()
    )


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("times", [24, pytest.param(1000, marks=pytest.mark.long)])
def test_a_signal_at_any_moment_ends_in_a_clean_state(
    containerd: RealContainerd, installer: Installer, times: int
) -> None:
    containerd.start()
    before = snapshot(containerd.config.parent)
    lasts = life(containerd, installer)
    choice = random.Random(SEED)  # noqa: S311 - moments to be repeated
    for number in range(times):
        moment, said = choice.uniform(0, lasts), len(installer.log())
        sent = choice.choice(ENDING)
        live(installer, containerd.config, moment, choice)
        assert installer.process is not None
        installer.process.send_signal(sent)
        if choice.random() < 0.3:
            time.sleep(choice.uniform(0, 0.3))
            installer.process.send_signal(choice.choice(ENDING))
        code = installer.process.wait(120)
        # Before the first line of the program a signal ends it as it ends any program.
        begun = " INFO " in installer.log()[said:]
        told = f"{number}: {sent.name} after {moment:.3f} s: {code}\n{installer.log()[-6000:]}"
        assert code in (0, 1) or not begun, told
        wait_for(lambda: clean(containerd, installer, before), told)


def test_a_signal_that_means_nothing_here_ends_nothing(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    installer.start()
    wait_idle(installer)
    assert installer.process is not None
    for sent in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE):
        installer.process.send_signal(sent)
    time.sleep(1)
    assert installer.process.poll() is None
    assert served(containerd, installer)
    assert installer.stop() == 0, installer.log()


def test_a_hang_up_is_ignored_under_nohup(containerd: RealContainerd, installer: Installer) -> None:
    installer.prefix = ("nohup",)
    containerd.start()
    installer.start()
    wait_idle(installer)
    assert installer.process is not None
    installer.process.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert installer.process.poll() is None
    assert installer.stop() == 0, installer.log()


def test_a_start_after_a_kill_takes_over_and_reverts_to_the_first_state(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    before = snapshot(containerd.config.parent)
    choice = random.Random(SEED)  # noqa: S311 - the same
    lasts = life(containerd, installer)
    for _ in range(4):
        live(installer, containerd.config, choice.uniform(lasts / 10, lasts), choice)
        installer.end()
    installer.start()
    wait_idle(installer, 60)
    assert served(containerd, installer)
    assert installer.stop() == 0, installer.log()
    assert clean(containerd, installer, before), installer.log()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("times", [5, pytest.param(100, marks=pytest.mark.long)])
def test_restarts_with_nothing_changed_touch_neither_engine_nor_file(
    containerd: RealContainerd, installer: Installer, times: int
) -> None:
    containerd.start()
    installer.start("--on-exit=keep")
    wait_idle(installer)
    assert installer.stop() == 0, installer.log()
    engine, stamps = containerd.process.pid, stamps_of(containerd.config.parent, installer)
    for number in range(times):
        installer.start("--on-exit=keep")
        installer.wait_ready()
        if number % 5 == 4:
            installer.end()
        else:
            assert installer.stop() == 0, installer.log()
        installer.ready_file.unlink(missing_ok=True)
    assert containerd.process.pid == engine
    assert stamps_of(containerd.config.parent, installer) == stamps
    assert served(containerd, installer)


def stamps_of(etc: Path, installer: Installer) -> dict[str, tuple[int, int, int]]:
    """Return inode and times of every file that is ours or the engine's."""
    found = {}
    for root in (etc, installer.install_dir / "toolkit"):
        for path in (root, *root.rglob("*")):
            state = path.lstat()
            found[str(path)] = (state.st_ino, state.st_mtime_ns, state.st_ctime_ns)
    return found


@pytest.mark.parametrize("sent", ENDING, ids=lambda each: str(each.name))
def test_it_stops_cleanly_as_the_first_process_of_a_pid_namespace(
    containerd: RealContainerd, installer: Installer, sent: signal.Signals
) -> None:
    before = snapshot(containerd.config.parent)
    installer.prefix = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    installer.start("--restart-mode=none", "--config-source=file", "--socket=/nowhere")
    wait_idle_child(installer)
    assert installer.process is not None
    (child,) = children_of(installer.process.pid)
    os.kill(child, sent)
    assert installer.process.wait(30) == 0, installer.log()
    assert snapshot(containerd.config.parent) == before
    assert not installer.pid_file.parent.exists()


def wait_idle_child(installer: Installer) -> None:
    installer.wait_ready()
    assert installer.process is not None
    parent = installer.process.pid

    def small() -> bool:
        return any(
            Path(f"/proc/{each}/cmdline").read_bytes().split(b"\0")[1:3] == [b"-I", b"-S"]
            for each in children_of(parent)
        )

    wait_for(small, "the keeper")


def children_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in text.split()]


def test_a_program_that_is_away_for_an_upgrade_is_waited_for(
    containerd: RealContainerd, tmp_path: Path
) -> None:
    moved = Moved(tmp_path)
    installer = installer_of(containerd, PYTHONPATH=str(moved.directory))
    installer.program = (sys.executable, "-P", "-m", "toolkit")
    containerd.start()
    try:
        installer.start()
        wait_idle(installer)
        moved.away()
        containerd.config.write_text("version = 2\n")
        wait_said(installer, "cannot restart the installer")
        assert not installer.ready_file.exists()
        moved.back()
        wait_said(installer, " repaired ")
        wait_idle(installer)
        moved.away()
        code = installer.stop()
        assert code == 3
        assert "run its command `revert`" in installer.log()
        moved.back()
        done = installer.run("revert")
        assert done.returncode == 0, done.stderr
        assert containerd.config.read_text() == "version = 2\n"
    finally:
        installer.end()
