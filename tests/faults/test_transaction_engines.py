"""Rollback, signals and many rounds against real containerds with the real program."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.containerd import RELEASES, RealContainerd, real_containerd
from testbed.program import Installer
from testbed.supervised import wait_for
from tests.faults.node_host import Tree, difference, tree_of
from toolkit.errors import ExitCode

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="real engines need root"),
]
CONFIG = b"# by hand\nversion = 2\noom_score = 0\n"
NEWEST = RELEASES[-1]


@pytest.fixture(params=RELEASES, ids=lambda release: f"containerd-{release.series}")
def engine(request: pytest.FixtureRequest) -> Iterator[RealContainerd]:
    with real_containerd(request.param) as made:
        made.config.write_bytes(CONFIG)
        made.start()
        yield made


@pytest.fixture
def newest() -> Iterator[RealContainerd]:
    with real_containerd(NEWEST) as made:
        made.config.write_bytes(CONFIG)
        made.start()
        yield made


@pytest.fixture
def installer(request: pytest.FixtureRequest) -> Iterator[Installer]:
    chosen = "engine" if "engine" in request.fixturenames else "newest"
    made = installer_for(request.getfixturevalue(chosen))
    yield made
    made.end()


def installer_for(engine: RealContainerd, **variables: str) -> Installer:
    work = engine.directory / "work"
    (work / "run").mkdir(parents=True)
    return Installer(
        work,
        {
            "RUNTIME": "containerd",
            "CONTAINERD_CONFIG": str(engine.config),
            "CONTAINERD_SOCKET": str(engine.socket),
            "RUNTIME_DROP_IN_CONFIG": str(engine.config.parent / "conf.d/99-nvidia.toml"),
            "TOOLKIT_VERIFY_TIMEOUT": "5",
            "TOOLKIT_DEBUG": "false",
            **variables,
        },
    )


def host_tree(engine: RealContainerd, installer: Installer) -> Tree:
    """Return all that a setup may change: the config, the install directory, /run's part."""
    found = {f"etc{path}": entry for path, entry in tree_of(engine.config.parent).items()}
    for name in ("nvidia", "run"):
        directory = installer.directory / name
        if directory.exists():
            found[name] = ("directory",)
            found |= {f"{name}{path}": entry for path, entry in tree_of(directory).items()}
    return found


def with_override(installer: Installer, text: str) -> subprocess.CompletedProcess[str]:
    return installer.run("--no-daemon", f"--runtime-config-override={text}")


REFUSED = {
    "when it loads the file": '{"options": 7}',
    "when CRI starts": '{"privileged_without_host_devices_all_devices_allowed": true}',
}
"""1.6 does not know the second option, and serves the handler."""


@pytest.mark.parametrize("option", REFUSED.values(), ids=REFUSED.keys())
def test_a_handler_option_that_the_engine_refuses_is_rolled_back(
    engine: RealContainerd, installer: Installer, option: str
) -> None:
    before, served = host_tree(engine, installer), engine.cri.served()
    done = with_override(installer, option)
    if engine.release.series == "1.6" and "privileged" in option:
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == ExitCode.FAILED, done.stderr
    assert "Traceback" not in done.stderr
    engine.wait_ready()
    assert difference(host_tree(engine, installer), before) == []
    assert engine.cri.served() == served


UNLOADABLE = {
    "1.6": b'version = 2\nimports = ["/nonexistent/x.toml"]\n',
    "1.7": b'version = 2\nimports = ["/nonexistent/x.toml"]\n',
    "2.1": b"version = 7\n",
}
"""A start with such a file is its end, whatever it serves with the one that it has loaded."""
SAYS = {
    "1.6": "/nonexistent/x.toml, which is not there: containerd would not start again",
    "1.7": "/nonexistent/x.toml, which is not there: containerd would not start again",
    "2.1": "refuses this file as it is without us",
}


def test_an_engine_whose_file_nobody_could_load_any_more_is_left_alone(
    engine: RealContainerd, installer: Installer
) -> None:
    engine.config.write_bytes(UNLOADABLE[engine.release.series])
    before, process = host_tree(engine, installer), engine.process.pid
    done = installer.run("--no-daemon")
    assert done.returncode == ExitCode.FAILED, done.stderr
    assert SAYS[engine.release.series] in done.stderr
    assert engine.process.pid == process
    assert engine.cri.ready()
    assert difference(host_tree(engine, installer), before) == []


def test_an_engine_that_comes_back_without_cri_gets_its_old_files_back(
    engine: RealContainerd, installer: Installer
) -> None:
    """Somebody switches CRI off in the moment of the restart, and on again afterwards."""
    before, served = host_tree(engine, installer), engine.cri.served()
    late = engine.config.parent / "late.toml"
    late.write_bytes(b"version = 2\n")
    engine.config.write_bytes(CONFIG + f'imports = ["{late}"]\n'.encode())
    restart(engine)
    before = host_tree(engine, installer)
    engine.process.hold()
    process = installer.start("--no-daemon")
    pid = engine.process.pid
    wait_until_dead(pid)
    late.write_bytes(b'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    engine.process.release()
    wait_for(lambda: process.poll() is not None or "undoing" in installer.log(), "the undoing")
    late.write_bytes(b"version = 2\n")
    process.wait(120)
    assert process.returncode in (ExitCode.FAILED, ExitCode.NOT_RESTORED), installer.log()
    restart(engine)
    if process.returncode == ExitCode.NOT_RESTORED:
        again = installer.run("revert")
        assert again.returncode == 0, again.stderr
    assert difference(host_tree(engine, installer), before) == []
    assert engine.cri.served() == served


@pytest.mark.parametrize("comes_back", [True, False], ids=["late", "never"])
def test_an_engine_that_does_not_come_back_in_time_finds_its_old_files(
    newest: RealContainerd, installer: Installer, *, comes_back: bool
) -> None:
    before, served = host_tree(newest, installer), newest.cri.served()
    newest.process.hold()
    process = installer.start("--no-daemon")
    wait_until_dead(newest.process.pid)
    if comes_back:
        wait_for(lambda: "undoing" in installer.log(), "the undoing")
        newest.process.release()
    code = process.wait(120)
    assert code == (ExitCode.FAILED if comes_back else ExitCode.NOT_RESTORED), installer.log()
    assert newest.config.read_bytes() == CONFIG
    assert not (newest.config.parent / "conf.d").exists()
    if not comes_back:
        newest.process.release()
    newest.wait_ready()
    if not comes_back:
        again = installer.run("revert")
        assert again.returncode == 0, again.stderr
    assert difference(host_tree(newest, installer), before) == []
    assert newest.cri.served() == served


def restart(engine: RealContainerd) -> None:
    """Let it come back with what its files hold now."""
    before = engine.process.pid
    engine.process.kill(signal.SIGKILL)
    wait_for(lambda: engine.process.pid != before, "a new process")
    engine.wait_ready()


def wait_until_dead(pid: int) -> None:
    """Wait for its end; a zombie counts."""

    def dead() -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return True
        return state == "Z"

    wait_for(dead, f"the end of process {pid}")


DELAYS = [0.02, 0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2]


@pytest.mark.parametrize(
    "delays", [DELAYS, pytest.param([n / 100 for n in range(5, 150)], marks=pytest.mark.long)],
    ids=["short", "full"],
)  # fmt: skip
def test_a_signal_at_any_moment_of_a_set_up_takes_it_back(
    newest: RealContainerd, installer: Installer, delays: list[float], counts: Counter[str]
) -> None:
    """Also between the execs into and out of the keeper."""
    before, served = host_tree(newest, installer), newest.cri.served()
    for index, delay in enumerate(delays):
        number = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)[index % 3]
        process = installer.start()
        time.sleep(delay)
        process.send_signal(number)
        code = process.wait(120)
        # Before the first line runs, nothing is blocked and nothing has begun.
        assert code in (ExitCode.DONE, ExitCode.FAILED, -number), installer.log()
        newest.wait_ready()
        assert difference(host_tree(newest, installer), before) == [], f"after {delay} s"
        assert newest.cri.served() == served
        counts["signals in a setup"] += 1


def test_a_second_instance_is_sent_away_at_once_and_the_first_ones_lock_is_untouched(
    newest: RealContainerd, installer: Installer
) -> None:
    installer.start()
    installer.wait_ready()
    lock = installer.pid_file.stat()
    content = installer.pid_file.read_bytes()
    for arguments in (("--no-daemon",), ("revert",)):
        done = installer.run(*arguments)
        assert done.returncode == ExitCode.LOCKED, done.stderr
    now = installer.pid_file.stat()
    assert (now.st_ino, now.st_mtime_ns) == (lock.st_ino, lock.st_mtime_ns)
    assert installer.pid_file.read_bytes() == content
    assert installer.ready_file.exists()
    assert installer.stop() == 0
    newest.wait_ready()


@pytest.mark.parametrize(
    "rounds", [5, pytest.param(500, marks=pytest.mark.long)], ids=["short", "full"]
)
def test_rounds_of_set_up_and_revert_leave_not_a_byte(
    newest: RealContainerd, rounds: int, counts: Counter[str]
) -> None:
    installer = installer_for(newest, RUNTIME_RESTART_MODE="none")
    before = host_tree(newest, installer)
    sizes = set()
    for _ in range(rounds):
        done = installer.run("--no-daemon")
        assert done.returncode == 0, done.stderr
        # With --no-daemon the ready file stays; its length is that of a PID and a time.
        journal = installer.install_dir / ".toolkit-journal"
        sizes.add((len(list(journal.rglob("*"))), (journal / "journal.json").stat().st_size))
        done = installer.run("revert", "--purge")
        assert done.returncode == 0, done.stderr
        assert difference(host_tree(newest, installer), before) == []
        counts["rounds on a real containerd"] += 1
    assert len(sizes) == 1, sizes
