"""What others do to a node while only the small process is there, and what a stop leaves then."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.containerd import RELEASES, ContainerdRelease, RealContainerd
from testbed.program import Installer
from testbed.supervised import wait_for
from tests.engine.resident import (
    INTERVAL,
    Moved,
    events,
    free_port,
    installer_of,
    is_idle,
    probe,
    served,
    wait_idle,
    wait_said,
)

pytestmark = [
    pytest.mark.engine,
    pytest.mark.parametrize(
        "containerd_release",
        [each for each in RELEASES if each.series == "1.7"],
        ids=lambda each: f"containerd-{each.series}",
    ),
]
SITE = b"""# site config
version = 2
oom_score = -7 # keep

[plugins."io.containerd.grpc.v1.cri"]
  # a comment
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
    endpoint = ["https://mirror.example"]
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"""
REPAIRED = " repaired "
NEWEST, OLDER = RELEASES[-1], RELEASES[1]


@pytest.fixture
def installer(containerd: RealContainerd) -> Iterator[Installer]:
    containerd.config.write_bytes(SITE)
    containerd.start()
    program = installer_of(containerd)
    yield program
    program.end()


def assert_stops_clean(containerd: RealContainerd, installer: Installer) -> None:
    assert installer.stop() == 0, installer.log()
    containerd.wait_ready()
    assert containerd.config.read_bytes() == SITE
    assert containerd.cri.served().default == "runc"
    assert not installer.install_dir.exists()
    assert not installer.pid_file.parent.exists()


def remove_journal(install_dir: Path) -> None:
    shutil.rmtree(install_dir / ".toolkit-journal")


def remove_record(install_dir: Path) -> None:
    (install_dir / ".toolkit-journal/journal.json").unlink()


def damage_record(install_dir: Path) -> None:
    (install_dir / ".toolkit-journal/journal.json").write_text("{")


def damage_blobs(install_dir: Path) -> None:
    for blob in (install_dir / ".toolkit-journal/blobs").iterdir():
        blob.write_text("")


def remove_all(install_dir: Path) -> None:
    shutil.rmtree(install_dir)


LOSSES = (remove_journal, remove_record, damage_record, damage_blobs, remove_all)


@pytest.mark.parametrize("lose", LOSSES, ids=lambda each: str(each.__name__))
@pytest.mark.parametrize("moment", ["before a look", "at the stop"])
def test_a_journal_that_somebody_lost_is_there_again_and_leads_back_to_the_first_bytes(
    containerd: RealContainerd,
    installer: Installer,
    lose: Callable[[Path], None],
    moment: str,
) -> None:
    long = {"TOOLKIT_RECONCILE_INTERVAL": "600"} if moment == "at the stop" else {}
    installer.variables = {**installer.variables, **long}
    installer.start()
    installer.wait_ready()
    wait_for(lambda: is_idle(installer), "the keeper")
    lose(installer.install_dir)
    if moment == "before a look":
        # What only the revert needs is written again when it does.
        wait_said(installer, "something differs" if lose is not damage_blobs else "ready")
        wait_idle(installer)
        assert served(containerd, installer)
    assert_stops_clean(containerd, installer)


def test_a_ready_file_that_can_not_be_removed_makes_nobody_ready(
    containerd: RealContainerd, installer: Installer
) -> None:
    port = free_port()
    installer.start(f"--health-address=127.0.0.1:{port}")
    wait_idle(installer)
    with read_only(installer.ready_file.parent):
        containerd.process.hold()
        containerd.process.kill(signal.SIGKILL)
        wait_for(lambda: probe(port, "/readyz")[0] == 503, "it to be not ready")
        time.sleep(5 * INTERVAL)
        assert probe(port, "/readyz")[0] == 503
        assert installer.ready_file.exists()
    containerd.process.release()
    wait_for(lambda: probe(port, "/readyz")[0] == 200, "it to be ready again")
    assert_stops_clean(containerd, installer)


@contextmanager
def read_only(directory: Path) -> Iterator[None]:
    for options in (("--bind", str(directory)), ("--options", "remount,bind,ro")):
        subprocess.run(("/bin/mount", "--no-mtab", *options, str(directory)), check=True)
    try:
        yield
    finally:
        subprocess.run(("/bin/umount", "--no-mtab", str(directory)), check=True)


def test_a_pid_file_that_can_not_be_made_anew_leaves_a_daemon_that_is_not_ready_and_reverts(
    containerd: RealContainerd, installer: Installer
) -> None:
    installer.start()
    wait_idle(installer)
    directory = installer.pid_file.parent
    shutil.rmtree(directory)
    directory.write_text("in its way")
    wait_said(installer, "none can be created")
    assert installer.process is not None
    assert installer.process.poll() is None
    assert installer.stop() == 0, installer.log()
    assert containerd.config.read_bytes() == SITE
    assert not installer.install_dir.exists()
    directory.unlink()


def test_a_config_that_leads_in_a_circle_is_told_and_repaired_once_it_is_a_file_again(
    containerd: RealContainerd, installer: Installer
) -> None:
    installer.start()
    wait_idle(installer)
    containerd.config.unlink()
    containerd.config.symlink_to(containerd.config.name)
    wait_said(installer, "Too many levels of symbolic links")
    assert not installer.ready_file.exists()
    containerd.config.unlink()
    containerd.config.write_bytes(SITE)
    wait_said(installer, REPAIRED)
    wait_idle(installer)
    assert served(containerd, installer)
    assert_stops_clean(containerd, installer)


@pytest.mark.parametrize("name", ["nvidia-container-runtime", "nvidia-container-cli.real"])
def test_a_fifo_in_the_place_of_a_file_of_the_payload_holds_nobody_up(
    containerd: RealContainerd, installer: Installer, name: str
) -> None:
    installer.start()
    wait_idle(installer)
    file = installer.install_dir / "toolkit" / name
    content = file.read_bytes()
    file.unlink()
    os.mkfifo(file)
    wait_said(installer, REPAIRED)
    wait_idle(installer)
    assert file.is_file()
    assert file.read_bytes() == content
    assert_stops_clean(containerd, installer)


def test_a_file_of_the_payload_that_is_lost_during_a_repair_is_repaired_too(
    containerd: RealContainerd,
) -> None:
    containerd.config.write_bytes(SITE)
    containerd.process.restart_delay = 1.5
    containerd.start()
    installer = installer_of(containerd)
    try:
        installer.start()
        wait_idle(installer)
        written = events(installer, " written ")
        containerd.config.write_text("version = 2\n")
        wait_said(installer, " written ", written + 1)
        file = installer.install_dir / "toolkit/nvidia-container-cli"
        file.unlink()
        wait_said(installer, REPAIRED, 2)
        assert file.exists()
        assert installer.stop() == 0, installer.log()
    finally:
        installer.end()


def test_a_signal_while_a_repair_waits_for_the_engine_leaves_their_edit_and_nothing_of_ours(
    containerd: RealContainerd,
) -> None:
    containerd.config.write_bytes(SITE)
    containerd.process.restart_delay = 0.5
    containerd.start()
    installer = installer_of(containerd)
    try:
        installer.start()
        wait_idle(installer)
        written = events(installer, " written ")
        containerd.config.write_bytes(SITE)
        wait_said(installer, " written ", written + 1)
        assert_stops_clean(containerd, installer)
    finally:
        installer.end()


def test_a_daemon_comes_back_once_its_own_upgrade_is_done(
    containerd: RealContainerd, tmp_path: Path
) -> None:
    moved = Moved(tmp_path)
    installer = installer_of(containerd, PYTHONPATH=str(moved.directory))
    installer.program = (sys.executable, "-P", "-m", "toolkit")
    containerd.config.write_bytes(SITE)
    containerd.start()
    module = moved.directory / "toolkit/cli.py"
    whole = module.read_bytes()
    try:
        installer.start()
        wait_idle(installer)
        module.write_bytes(whole[:3000])
        containerd.config.write_bytes(SITE)
        wait_said(installer, "cannot load the installer")
        assert "Traceback" not in installer.log()
        assert not installer.ready_file.exists()
        module.write_bytes(whole)
        wait_said(installer, REPAIRED)
        wait_idle(installer)
        assert_stops_clean(containerd, installer)
    finally:
        installer.end()


@pytest.mark.parametrize(
    "releases", [(NEWEST,), (NEWEST, OLDER)], ids=["to 2.1", "to 2.1 and back"]
)
def test_an_engine_of_another_release_is_set_up_its_own_way(
    containerd: RealContainerd, installer: Installer, releases: tuple[ContainerdRelease, ...]
) -> None:
    installer.start()
    wait_idle(installer)
    for release in releases:
        looks = events(installer, REPAIRED) + events(installer, "nothing differs")
        containerd.switch(release)
        wait_for(
            lambda looks=looks: (  # type: ignore[misc]
                events(installer, REPAIRED) + events(installer, "nothing differs") > looks
            ),
            "a look at the new engine",
        )
        wait_idle(installer)
        assert served(containerd, installer)
        assert "mirror.example" in str(containerd.dump())
    assert_stops_clean(containerd, installer)


def test_a_revert_leaves_an_engine_running_that_would_not_start_again(
    containerd: RealContainerd, installer: Installer
) -> None:
    installer.start("--reconcile-interval=600")
    installer.wait_ready()
    wait_for(lambda: is_idle(installer), "the keeper")
    wrong = containerd.config.read_bytes().replace(b"oom_score = -7", b'oom_score = "high"')
    containerd.config.write_bytes(wrong)
    process = containerd.process.pid
    assert installer.stop() == 3
    assert "refuses them as they are without us" in installer.log()
    assert containerd.process.pid == process
    assert containerd.cri.ready()
    assert (installer.install_dir / "toolkit").exists()
    found = containerd.config.read_bytes()
    assert found == SITE.replace(b"oom_score = -7", b'oom_score = "high"')
    containerd.config.write_bytes(SITE)
    done = installer.run("revert")
    assert done.returncode == 0, done.stderr
    containerd.wait_ready()
    assert containerd.cri.served().default == "runc"
    assert not installer.install_dir.exists()


def test_a_repair_that_can_not_be_undone_is_spaced_and_keeps_what_an_admin_puts_in_its_place(
    containerd: RealContainerd, installer: Installer
) -> None:
    installer.variables = {**installer.variables, "TOOLKIT_VERIFY_TIMEOUT": "5"}
    installer.start("--reconcile-interval=1")
    wait_idle(installer, 60)
    spawned = len(containerd.process.events())
    registry = '[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/etc/certs.d"\n'
    mirror = (
        '[plugins."io.containerd.grpc.v1.cri".registry.mirrors."x"]\nendpoint = ["https://x"]\n'
    )
    containerd.config.write_text(f"version = 2\n{registry}{mirror}")
    wait_said(installer, "again_in_seconds")
    time.sleep(8)
    # A restart is two events; a repair and its undoing are two restarts, and there were few.
    assert len(containerd.process.events()) - spawned <= 4 * 2 * 2, installer.log()[-3000:]
    containerd.config.write_bytes(SITE)
    containerd.process.kill(signal.SIGKILL)
    wait_said(installer, REPAIRED, timeout=60)
    wait_idle(installer, 60)
    assert served(containerd, installer)
    assert_stops_clean(containerd, installer)
