"""With exactly the capabilities of SECURITY.md's table a setup and its revert are right."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.containerd import RELEASES, RealContainerd
from testbed.dockerd import RealDockerd
from testbed.program import Installer, snapshot
from tests.engine.resident import installer_of, served, wait_idle
from tests.rights import with_rights

pytestmark = pytest.mark.engine
CONTAINERD = pytest.mark.parametrize(
    "containerd_release",
    [RELEASES[0], RELEASES[-1]],
    ids=lambda each: f"containerd-{each.series}",
)
RESTARTS = ("sys_ptrace",)
FOREIGN = ("chown", "dac_override", "fowner")
THEIRS = b"version = 2\noom_score = -3 # theirs\n"


def docker_installer(dockerd: RealDockerd, **variables: str) -> Installer:
    return Installer(dockerd.directory, {**dockerd.variables, **variables})


@contextmanager
def ended(installer: Installer) -> Iterator[Installer]:
    try:
        yield installer
    finally:
        installer.end()


def round_trip(installer: Installer, config: Path, rights: tuple[str, ...]) -> None:
    """Set up and revert with these capabilities: every byte, mode, owner and attribute is back."""
    installer.prefix = with_rights(*rights)
    before = snapshot(config.parent)
    installer.start()
    wait_idle(installer)
    assert snapshot(config.parent) != before
    assert installer.stop() == 0, installer.log()
    assert snapshot(config.parent) == before


def refused(installer: Installer, config: Path, rights: tuple[str, ...]) -> None:
    """Start with too few capabilities: one that can't do its work changes nothing."""
    installer.prefix = with_rights(*rights)
    before = snapshot(config.parent)
    assert installer.run("--no-daemon").returncode == 1
    assert snapshot(config.parent) == before
    assert not installer.install_dir.exists()


@CONTAINERD
@pytest.mark.parametrize("mode", ["auto", "signal"])
def test_containerd_is_signalled_with_the_right_to_look_at_it(
    containerd: RealContainerd, mode: str
) -> None:
    containerd.start()
    with ended(installer_of(containerd, CONTAINERD_RESTART_MODE=mode)) as installer:
        refused(installer, containerd.config, ())
        round_trip(installer, containerd.config, RESTARTS)
    assert not served(containerd, installer)


@CONTAINERD
def test_containerd_s_files_alone_need_no_capability(containerd: RealContainerd) -> None:
    containerd.start()
    with ended(installer_of(containerd, CONTAINERD_RESTART_MODE="none")) as installer:
        round_trip(installer, containerd.config, ())


def test_dockerd_is_signalled_with_the_right_to_look_at_it(dockerd: RealDockerd) -> None:
    dockerd.config.write_bytes(b"{}")
    dockerd.start()
    with ended(docker_installer(dockerd)) as installer:
        refused(installer, dockerd.config, ())
        round_trip(installer, dockerd.config, RESTARTS)


def test_dockerd_s_file_alone_needs_no_capability(dockerd: RealDockerd) -> None:
    dockerd.config.write_bytes(b"{}")
    dockerd.start()
    with ended(docker_installer(dockerd, DOCKER_RESTART_MODE="none")) as installer:
        round_trip(installer, dockerd.config, ())


@pytest.mark.parametrize("containerd_release", [RELEASES[0]], ids=["containerd-1.6"])
def test_a_config_of_another_owner_needs_the_rights_to_keep_it_so(
    containerd: RealContainerd,
) -> None:
    containerd.config.write_bytes(THEIRS)
    containerd.config.chmod(0o640)
    os.setxattr(containerd.config, "user.label", b"theirs")
    containerd.start()
    os.chown(containerd.config, 1234, 2345)
    with ended(installer_of(containerd)) as installer:
        for missing in FOREIGN:
            refused(installer, containerd.config, (*RESTARTS, *({*FOREIGN} - {missing})))
        round_trip(installer, containerd.config, (*RESTARTS, *FOREIGN))


def test_files_alone_are_installed_without_any_capability(tmp_path: Path) -> None:
    installer = Installer(tmp_path.resolve(), prefix=with_rights())
    done = installer.run("--no-daemon", "--no-runtime-config")
    assert done.returncode == 0, done.stderr
    assert (installer.install_dir / "toolkit/nvidia-ctk").exists()
