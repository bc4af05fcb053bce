"""A real engine that can't execute what it serves: not ready, and one line says which and why."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.containerd import RELEASES, RealContainerd
from testbed.dockerd import DOCKER_RELEASES, RealDockerd
from testbed.program import Installer, snapshot
from testbed.supervised import wait_for
from tests.engine.resident import (
    events,
    free_port,
    installer_of,
    probe,
    served,
    wait_idle,
    wait_probe,
    wait_said,
)

pytestmark = pytest.mark.engine
one_release = pytest.mark.parametrize(
    "containerd_release",
    [each for each in RELEASES if each.series == "1.7"],
    ids=lambda each: f"containerd-{each.series}",
)
HIDE = "mount --no-mtab -t tmpfs none {path}"
BAR = "mount --no-mtab --bind {path} {path} && mount --no-mtab -o remount,bind,noexec {path}"
SHOW = "umount --no-mtab {path}"


@pytest.fixture
def installer(containerd: RealContainerd) -> Iterator[Installer]:
    program = installer_of(containerd)
    program.install_dir.mkdir()
    yield program
    program.end()


def in_engine(containerd: RealContainerd, command: str, path: Path) -> None:
    """Change what the engine alone sees: it is in a mount namespace of its own."""
    words = (*containerd.process.enter(), "sh", "-c", command.format(path=path))
    subprocess.run(words, check=True)


@pytest.mark.parametrize(
    ("command", "why"),
    [(HIDE, "is not there"), (BAR, "is on a file system that is mounted noexec")],
    ids=["hidden", "noexec"],
)
def test_a_setup_that_the_engine_can_not_execute_is_rolled_back(
    containerd: RealContainerd, installer: Installer, command: str, why: str
) -> None:
    containerd.start()
    before = snapshot(containerd.config.parent)
    in_engine(containerd, command, installer.install_dir)
    warned = [
        each
        for each in json.loads(installer.run("doctor", "--output=json").stdout)["findings"]
        if each["check"] == "binaries"
    ]
    assert [each["verdict"] for each in warned] == ["warning"]
    done = installer.run("--no-daemon")
    assert done.returncode == 1
    (line,) = [each for each in done.stderr.splitlines() if " ERROR " in each]
    binary = installer.binaries()["nvidia"]
    assert f"handler nvidia can't be executed: {binary} {why} in the mount namespace" in line
    assert "the host's own is right" in line
    containerd.wait_ready()
    assert snapshot(containerd.config.parent) == before
    assert not (installer.install_dir / "toolkit").exists()
    assert not installer.ready_file.exists()
    in_engine(containerd, SHOW, installer.install_dir)
    assert installer.run("--no-daemon").returncode == 0
    assert served(containerd, installer)


@pytest.mark.parametrize("command", [HIDE, BAR], ids=["hidden", "noexec"])
@one_release
def test_what_is_hidden_later_makes_the_node_not_ready_until_it_is_back(
    containerd: RealContainerd, installer: Installer, command: str
) -> None:
    port = free_port()
    installer.variables = {**installer.variables, "TOOLKIT_HEALTH_ADDRESS": f"127.0.0.1:{port}"}
    containerd.start()
    installer.start()
    wait_idle(installer)
    pid = containerd.process.pid
    binary = installer.binaries()["nvidia"]
    in_engine(containerd, command, installer.install_dir)
    wait_said(installer, "handler nvidia can't be executed")
    assert not installer.ready_file.exists()
    wait_for(lambda: str(binary) in probe(port, "/readyz")[1], "the binary's name")
    status, text = probe(port, "/readyz")
    assert (status, text.startswith("not ready: ")) == (503, True)
    verified = installer.run("verify")
    assert verified.returncode == 1
    assert f"missing: handler nvidia can't be executed: {binary}" in verified.stdout
    state = json.loads(installer.run("status", "--output=json").stdout)
    assert (state["ready"], len(state["unexecutable"])) == (False, 3)
    assert "can't be executed" in installer.run("status").stdout
    assert "problem  binaries: handler nvidia can't be executed" in installer.run("doctor").stdout
    in_engine(containerd, SHOW, installer.install_dir)
    wait_idle(installer)
    wait_probe(port, "/readyz", 200)
    assert containerd.process.pid == pid
    assert installer.run("verify").returncode == 0
    assert installer.stop() == 0, installer.log()


@one_release
def test_files_of_another_release_that_only_the_engine_sees_are_not_ours(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    assert installer.run("--no-daemon").returncode == 0
    toolkit, other = installer.install_dir / "toolkit", installer.directory / "other"
    shutil.copytree(toolkit, other, symlinks=True)
    binary = other / "nvidia-container-runtime.real"
    binary.write_bytes(binary.read_bytes() + b"# another\n")
    in_engine(containerd, f"mount --no-mtab --bind {other} {{path}}", toolkit)
    verified = installer.run("verify")
    assert verified.returncode == 1
    assert verified.stdout.splitlines()[-1] == (
        f"missing: handler nvidia can't be executed: {toolkit}/nvidia-container-runtime.real is not"
        " the file that was installed"
    )


@one_release
def test_what_was_lost_without_a_daemon_is_told_and_comes_back_at_the_next_start(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    assert installer.run("--no-daemon").returncode == 0
    toolkit = installer.install_dir / "toolkit"
    toolkit.rename(installer.directory / "lost")
    verified = installer.run("verify")
    assert verified.returncode == 1
    assert f"{installer.binaries()['nvidia']} is not there" in verified.stdout
    pid = containerd.process.pid
    assert installer.run("--no-daemon").returncode == 0
    assert installer.run("verify").returncode == 0
    assert containerd.process.pid == pid


@one_release
def test_an_engine_that_is_restarted_is_told_as_that(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    installer.start()
    wait_idle(installer)
    containerd.process.kill(signal.SIGKILL)
    wait_said(installer, "something differs")
    wait_idle(installer)
    assert events(installer, "the engine's view of") == 0


@one_release
def test_an_install_directory_in_memory_is_a_warning(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    assert "install directory: " in installer.run("doctor").stdout
    assert "gone after a reboot" not in installer.run("doctor").stdout
    mount = HIDE.format(path=installer.install_dir)
    private = ("unshare", "--mount", "--propagation=slave", "sh", "-ec")
    installer.prefix = (*private, f'{mount}; exec "$@"', "sh")
    examined = installer.run("doctor").stdout
    assert f"warning  install directory: {installer.install_dir} is on tmpfs" in examined


@pytest.mark.parametrize("docker_release", DOCKER_RELEASES[-1:], ids=["docker-28"])
def test_dockers_handlers_are_looked_at_too(dockerd: RealDockerd) -> None:
    installer = Installer(dockerd.directory, dockerd.variables)
    dockerd.start()
    installer.install_dir.mkdir()
    hide = HIDE.format(path=installer.install_dir)
    words = (*dockerd.process.enter(), "sh", "-c", hide)
    subprocess.run(words, check=True)
    before = dockerd.config.read_bytes()
    done = installer.run("--no-daemon")
    assert done.returncode == 1
    assert "handler nvidia can't be executed" in done.stderr
    assert dockerd.config.read_bytes() == before
    assert dockerd.info()["DefaultRuntime"] == "runc"
