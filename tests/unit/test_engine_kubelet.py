from __future__ import annotations

import pytest

from runtime_configs.model import EngineName
from tests.fakes.node import SYSTEMD, FakeTable, FakeView, process
from toolkit.engine.kubelet import cgroup_driver, endpoint, engine_of

CONFIG = "/var/lib/kubelet/config.yaml"
YAML = b"kind: KubeletConfiguration\ncontainerRuntimeEndpoint: unix:///var/run/crio/crio.sock\n"
JSON = b'{"kind": "KubeletConfiguration", \n "containerRuntimeEndpoint": "unix:///run/x.sock"}'


@pytest.mark.parametrize(
    ("arguments", "config", "socket"),
    [
        (("kubelet", "--container-runtime-endpoint=unix:///run/a.sock"), YAML, "/run/a.sock"),
        (("kubelet", "--container-runtime-endpoint", "/run/a.sock"), b"", "/run/a.sock"),
        (("/usr/bin/kubelet", "--config=" + CONFIG), YAML, "/var/run/crio/crio.sock"),
        (("kubelet", "--config", CONFIG), JSON, "/run/x.sock"),
        (("kubelet", "--config", CONFIG), b"kind: X\n", "/run/containerd/containerd.sock"),
        (("kubelet",), b"", "/run/containerd/containerd.sock"),
        (("/usr/local/bin/k3s server",), b"", "/run/k3s/containerd/containerd.sock"),
        (("/usr/local/bin/k3s", "agent", "--docker"), b"", "/run/k3s/cri-dockerd/cri-dockerd.sock"),
        (("/snap/microk8s/1/kubelite",), b"", "/var/snap/microk8s/common/run/containerd.sock"),
    ],
)
def test_the_kubelets_endpoint_is_read_where_it_is_set(
    arguments: tuple[str, ...], config: bytes, socket: str
) -> None:
    name = arguments[0].rpartition("/")[2].replace(" ", "-")
    kubelet = process(9, "/usr/bin/x", *arguments, name=name)
    assert endpoint(FakeTable(SYSTEMD, kubelet), FakeView({CONFIG: config})) == socket


def test_no_kubelet_has_no_endpoint() -> None:
    others = (SYSTEMD, process(8, "/usr/local/bin/k3s", "k3s", "kubectl", "get", "pods"))
    assert endpoint(FakeTable(*others), FakeView()) is None


@pytest.mark.parametrize(
    ("on_host", "socket"),
    [(False, None), (None, "/run/a.sock"), (True, "/run/a.sock")],
)
def test_a_kubelet_in_a_container_says_nothing_of_this_node(
    *, on_host: bool | None, socket: str | None
) -> None:
    arguments = ("kubelet", "--container-runtime-endpoint=/run/a.sock", "--cgroup-driver=systemd")
    kubelet = process(9, "/usr/bin/kubelet", *arguments, on_host=on_host)
    table, view = FakeTable(SYSTEMD, kubelet), FakeView()
    assert endpoint(table, view) == socket
    assert cgroup_driver(table, view) == (None if socket is None else "systemd")


@pytest.mark.parametrize(
    ("socket", "engine"),
    [
        ("/run/containerd/containerd.sock", EngineName.CONTAINERD),
        ("/var/run/crio/crio.sock", EngineName.CRIO),
        ("/run/cri-dockerd.sock", EngineName.DOCKER),
        ("/run/something.sock", None),
    ],
)
def test_a_sockets_name_tells_its_engine(socket: str, engine: EngineName | None) -> None:
    assert engine_of(socket) is engine


@pytest.mark.parametrize(
    ("arguments", "config", "driver"),
    [
        (("kubelet", "--cgroup-driver=systemd"), b"cgroupDriver: cgroupfs\n", "systemd"),
        (("kubelet", "--config", CONFIG), b"cgroupDriver: systemd # ours\n", "systemd"),
        (("kubelet", "--config", CONFIG), b'{"cgroupDriver":"cgroupfs"}', "cgroupfs"),
        (("kubelet", "--config", CONFIG), b"kind: X\n", None),
        (("kubelet", "--config", CONFIG), b"cgroupDriver: other\n", None),
        (("kubelet",), b"cgroupDriver: systemd\n", None),
        (("/usr/local/bin/k3s", "server"), b"", None),
    ],
)
def test_the_kubelets_cgroup_driver_is_read_where_it_is_set(
    arguments: tuple[str, ...], config: bytes, driver: str | None
) -> None:
    kubelet = process(9, "/usr/bin/x", *arguments, name=arguments[0].rpartition("/")[2])
    table, view = FakeTable(SYSTEMD, kubelet), FakeView({CONFIG: config})
    assert cgroup_driver(table, view) == driver
