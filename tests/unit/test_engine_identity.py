from __future__ import annotations

import pytest

from runtime_configs.model import EngineName
from tests.fakes.node import SYSTEMD, FakeTable, process
from toolkit.engine.facts import Supervisor
from toolkit.engine.process.identity import engine_process, is_engine
from toolkit.host.processes import unit_of


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/containerd.service\n", "containerd.service"),
        ("4:memory:/x\n1:name=systemd:/system.slice/k3s.service\n0::/\n", "k3s.service"),
        ("0::/machine.slice/node.service/payload/system.slice/docker.service\n", "docker.service"),
        ("0::/../../system.slice/containerd.service\n", "containerd.service"),
        (
            "0::/system.slice/snap.microk8s.daemon-containerd.service\n",
            "snap.microk8s.daemon-containerd.service",
        ),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/docker.service\n", None),
        ("0::/user.slice/user-0.slice/session-3.scope\n", None),
        ("0::/system.slice/docker-0123.scope\n", None),
        ("0::/\n", None),
        ("", None),
    ],
)
def test_the_unit_is_the_innermost_service_of_the_system(cgroup: str, unit: str | None) -> None:
    assert unit_of(cgroup) == unit


@pytest.mark.parametrize(
    ("engine", "executable", "name", "expected"),
    [
        (EngineName.CONTAINERD, "/usr/bin/containerd", "containerd", True),
        (EngineName.CONTAINERD, "/var/lib/rancher/k3s/data/abc/bin/k3s", "containerd", True),
        (EngineName.CONTAINERD, "/usr/local/bin/k3s", "/usr/local/bin/k3s server", False),
        (EngineName.CONTAINERD, "/usr/bin/containerd-shim-runc-v2", "containerd-shim", False),
        (EngineName.CONTAINERD, "/usr/bin/dockerd", "dockerd", False),
        (EngineName.CONTAINERD, None, "containerd", False),
        (EngineName.DOCKER, "/usr/sbin/dockerd", "/usr/sbin/dockerd", True),
        (EngineName.DOCKER, "/usr/lib/systemd/systemd", "/sbin/init", False),
        (EngineName.DOCKER, "/usr/bin/docker", "docker", False),
        (EngineName.CRIO, "/usr/bin/crio", "crio", True),
        (EngineName.CRIO, "/usr/bin/crictl", "crictl", False),
    ],
)
def test_an_engine_is_known_by_its_executable(
    engine: EngineName, executable: str | None, name: str, *, expected: bool
) -> None:
    assert is_engine(engine, process(42, executable, name)) is expected


CONTAINERD_UNIT = "0::/system.slice/containerd.service\n"
K3S_UNIT = "0::/system.slice/k3s.service\n"
K0S_UNIT = "0::/system.slice/k0sworker.service\n"
JOB_UNIT = "0::/system.slice/build-agent.service\n"


@pytest.mark.parametrize(
    ("cgroup", "parent", "supervisor", "unit"),
    [
        (CONTAINERD_UNIT, SYSTEMD, Supervisor.SYSTEMD, "containerd.service"),
        (CONTAINERD_UNIT, process(7, "/bin/sh", "sh"), Supervisor.SYSTEMD, "containerd.service"),
        (K3S_UNIT, process(7, "/usr/local/bin/k3s"), Supervisor.SYSTEMD, "k3s.service"),
        (K0S_UNIT, process(7, "/usr/local/bin/k0s"), Supervisor.SELF, "k0sworker.service"),
        (JOB_UNIT, process(7, "/bin/bash", "bash"), Supervisor.PARENT, None),
        ("0::/\n", process(7, "/bin/sh", "sh"), Supervisor.PARENT, None),
        ("0::/\n", SYSTEMD, Supervisor.NONE, None),
    ],
)
def test_the_supervisor_is_the_unit_only_where_the_unit_is_the_engines(
    cgroup: str, parent: object, supervisor: Supervisor, unit: str | None
) -> None:
    assert hasattr(parent, "pid")
    engine = process(42, "/usr/bin/containerd", "containerd", parent=parent.pid, cgroup=cgroup)
    table = FakeTable(engine, parent)  # type: ignore[arg-type]
    found = engine_process(engine, table, "/")
    assert (found.supervisor, found.unit) == (supervisor, unit)


def test_the_executable_is_named_as_the_host_names_it() -> None:
    engine = process(42, "/host/opt/bin/containerd", "containerd", "-c", "/etc/c.toml")
    found = engine_process(engine, FakeTable(engine), "/host")
    assert found.executable == "/opt/bin/containerd"
    assert found.arguments == ("-c", "/etc/c.toml")


def test_a_binary_of_many_names_is_named_by_the_one_that_it_runs_under() -> None:
    engine = process(42, "/var/lib/rancher/k3s/data/abc/bin/k3s", "containerd")
    found = engine_process(engine, FakeTable(engine), "/")
    assert found.executable == "/var/lib/rancher/k3s/data/abc/bin/containerd"
