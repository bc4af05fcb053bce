"""``RUNTIME=auto`` among real daemons: which of them is meant."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime_configs.model import EngineName
from testbed.containerd import RELEASES, RealContainerd, real_containerd
from testbed.dockerd import DOCKER_RELEASES, RealDockerd, real_dockerd
from testbed.supervised import wait_for
from tests.unit.cli_session import settings_of
from toolkit.engine.process.discover import Earlier, chosen_runtime
from toolkit.errors import EngineNotFoundError
from toolkit.host.paths import HostRoot
from toolkit.host.processes import ProcessTable

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("_root")]
SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def cluster() -> Iterator[RealContainerd]:
    with real_containerd(RELEASES[1]) as engine:
        engine.start()
        yield engine


@pytest.fixture(params=DOCKER_RELEASES, ids=lambda release: f"docker-{release.series}")
def docker(request: pytest.FixtureRequest) -> Iterator[RealDockerd]:
    with real_dockerd(request.param) as engine:
        yield engine


@contextmanager
def kubelet(directory: Path, endpoint: Path, code: str = SLEEP) -> Iterator[None]:
    """Run a process that has a kubelet's name and arguments."""
    program = directory / "kubelet"
    program.symlink_to(Path(sys.executable).resolve())
    flag = f"--container-runtime-endpoint=unix://{endpoint}"
    arguments = ("kubelet", "-c", code, flag)
    with subprocess.Popen(arguments, executable=program) as process:
        comm = Path(f"/proc/{process.pid}/comm")
        wait_for(lambda: comm.read_text() == "kubelet\n", "the kubelet's name")
        try:
            yield
        finally:
            process.kill()


def chosen(
    containerd: Path | str, docker: Path | str, earlier: Earlier | None = None
) -> EngineName:
    """Return the choice among two sockets; no CRI-O is there."""
    settings = settings_of(
        CONTAINERD_SOCKET=str(containerd), DOCKER_SOCKET=str(docker), CRIO_SOCKET="/nowhere/crio"
    )
    return chosen_runtime(settings, HostRoot(root="/"), earlier).name


def test_containerd_alone(cluster: RealContainerd) -> None:
    assert chosen(cluster.socket, "/nowhere/docker") is EngineName.CONTAINERD


def test_docker_on_the_machines_containerd(cluster: RealContainerd, docker: RealDockerd) -> None:
    docker.arguments = ("--containerd", str(cluster.socket))
    docker.start()
    assert chosen(cluster.socket, docker.socket) is EngineName.DOCKER


def test_docker_on_the_same_containerd_under_another_name(
    cluster: RealContainerd, docker: RealDockerd
) -> None:
    # As a socket that is mounted into the container: the names differ and no link tells it.
    other = docker.directory / "other.sock"
    os.link(cluster.socket, other)
    docker.arguments = ("--containerd", str(other))
    docker.start()
    assert chosen(cluster.socket, docker.socket) is EngineName.DOCKER


def test_docker_with_its_own_containerd(docker: RealDockerd) -> None:
    docker.start()
    own = docker.directory / "exec/containerd/containerd.sock"
    assert own.exists()
    assert chosen(own, docker.socket) is EngineName.DOCKER
    assert chosen("/nowhere/containerd", docker.socket) is EngineName.DOCKER


@pytest.mark.parametrize("shared", [True, False])
def test_the_clusters_containerd_where_docker_runs_as_well(
    cluster: RealContainerd, docker: RealDockerd, *, shared: bool
) -> None:
    docker.arguments = ("--containerd", str(cluster.socket)) if shared else ()
    docker.start()
    with kubelet(cluster.directory, cluster.socket):
        assert chosen(cluster.socket, docker.socket) is EngineName.CONTAINERD


def test_the_engine_that_was_set_up_before_stays_until_a_kubelet_names_another_one(
    cluster: RealContainerd, docker: RealDockerd
) -> None:
    docker.arguments = ("--containerd", str(cluster.socket))
    docker.start()
    sockets = cluster.socket, docker.socket
    on_containerd = Earlier(name=EngineName.CONTAINERD, socket=str(cluster.socket))
    on_docker = Earlier(name=EngineName.DOCKER, socket=str(docker.socket))
    assert chosen(*sockets, on_containerd) is EngineName.CONTAINERD
    assert chosen(*sockets, on_docker) is EngineName.DOCKER
    with kubelet(cluster.directory, cluster.socket):
        assert chosen(*sockets, on_docker) is EngineName.CONTAINERD
    gone = Earlier(name=EngineName.CONTAINERD, socket="/nowhere/containerd")
    assert chosen(*sockets, gone) is EngineName.DOCKER


def test_a_kubelet_in_a_container_does_not_tell_the_hosts_engine(
    cluster: RealContainerd, docker: RealDockerd
) -> None:
    docker.arguments = ("--containerd", str(cluster.socket))
    docker.start()
    root = cluster.directory / "container"
    root.mkdir()
    inside = f"import os; os.chroot({str(root)!r}); {SLEEP}"
    with kubelet(cluster.directory, cluster.socket, inside):
        (found,) = ProcessTable().named(("kubelet",))
        wait_for(lambda: os.readlink(f"/proc/{found.pid}/root") == str(root), "its own root")
        assert chosen(cluster.socket, docker.socket) is EngineName.DOCKER


def test_two_unrelated_engines_are_an_error_that_names_both(
    cluster: RealContainerd, docker: RealDockerd
) -> None:
    docker.start()
    with pytest.raises(EngineNotFoundError) as failure:
        chosen(cluster.socket, docker.socket)
    assert str(cluster.socket) in str(failure.value)
    assert str(docker.socket) in str(failure.value)
    assert "--runtime" in failure.value.hint


def test_no_engine_is_an_error_that_names_what_was_tried() -> None:
    with pytest.raises(EngineNotFoundError, match="/nowhere/docker"):
        chosen("/nowhere/containerd", "/nowhere/docker")


def test_a_socket_whose_engine_is_gone_is_no_engine(cluster: RealContainerd) -> None:
    cluster.process.hold()
    cluster.process.kill(signal.SIGKILL)  # which leaves the socket's file
    wait_for(lambda: cluster.process.events()[-1].event == "died", "containerd's end")
    assert cluster.socket.exists()
    with pytest.raises(EngineNotFoundError, match="no engine answers"):
        chosen(cluster.socket, "/nowhere/docker")
