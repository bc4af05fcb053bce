"""Docker and the cluster's containerd on one node: one is set up, the other is left alone."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from testbed.containerd import RELEASES, RealContainerd, real_containerd
from testbed.dockerd import RealDockerd
from testbed.program import HANDLERS, Installer, snapshot
from tests.engine.test_auto_choice import kubelet

pytestmark = pytest.mark.engine


@pytest.fixture
def cluster() -> Iterator[RealContainerd]:
    with real_containerd(RELEASES[2]) as engine:
        engine.start()
        yield engine


def installer_of(dockerd: RealDockerd, cluster: RealContainerd, runtime: str) -> Installer:
    etc = cluster.config.parent
    return Installer(
        dockerd.directory,
        {
            **dockerd.variables,
            "RUNTIME": runtime,
            "CONTAINERD_CONFIG": str(cluster.config),
            "CONTAINERD_SOCKET": str(cluster.socket),
            "RUNTIME_DROP_IN_CONFIG": str(etc / "conf.d/99-nvidia.toml"),
        },
    )


@pytest.mark.parametrize("runtime", ["docker", "containerd"])
def test_only_the_engine_that_is_meant_is_touched(
    dockerd: RealDockerd, cluster: RealContainerd, runtime: str
) -> None:
    dockerd.start()
    installer = installer_of(dockerd, cluster, runtime)
    files = snapshot(cluster.config.parent), snapshot(dockerd.config.parent)
    pids = cluster.process.pid, dockerd.process.pid
    try:
        installer.start()
        installer.wait_ready()
        on_docker = bool(set(HANDLERS) & set(dockerd.info()["Runtimes"]))
        on_cluster = bool(set(HANDLERS) & set(cluster.cri.served().handlers))
        assert (on_docker, on_cluster) == (runtime == "docker", runtime == "containerd")
        assert dockerd.process.pid == pids[1]
        assert (cluster.process.pid == pids[0]) == (runtime == "docker")
        assert installer.stop() == 0, installer.log()
    finally:
        installer.end()
    assert (snapshot(cluster.config.parent), snapshot(dockerd.config.parent)) == files


def test_a_kubelet_that_is_down_does_not_move_the_set_up_to_another_engine(
    dockerd: RealDockerd, cluster: RealContainerd
) -> None:
    dockerd.arguments = ("--containerd", str(cluster.socket))
    dockerd.start()
    installer = installer_of(dockerd, cluster, "auto")
    with kubelet(cluster.directory, cluster.socket):
        assert installer.run("--no-daemon").returncode == 0
    before = dockerd.config.read_bytes()
    again = installer.run("--no-daemon")
    assert again.returncode == 0, again.stderr
    assert set(HANDLERS) <= set(cluster.cri.served().handlers)
    assert not set(HANDLERS) & set(dockerd.info()["Runtimes"])
    assert dockerd.config.read_bytes() == before
    verified = installer.run("verify", "--output=json")
    assert (verified.returncode, json.loads(verified.stdout)["engine"]) == (0, "containerd")
    assert "engine: containerd " in installer.run("doctor").stdout


def test_two_engines_without_a_word_are_an_error_and_nothing_is_changed(
    dockerd: RealDockerd, cluster: RealContainerd
) -> None:
    dockerd.start()
    installer = installer_of(dockerd, cluster, "auto")
    files = snapshot(cluster.config.parent, dockerd.config.parent)
    done = installer.run("--debug=false")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "--runtime" in done.stderr
    assert not installer.install_dir.exists()
    assert snapshot(cluster.config.parent, dockerd.config.parent) == files
