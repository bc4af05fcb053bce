from __future__ import annotations

import pytest

from runtime_configs.model import EngineName
from tests.fakes.host_tree import HostTree
from tests.fakes.node import SYSTEMD, FakeTable, FakeView, process
from toolkit.engine.process.kubelet import KubeletSetting, cgroup_driver, endpoint, engine_of
from toolkit.errors import HostPathError

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
    assert cgroup_driver(table, view) == (
        None if socket is None else KubeletSetting(value="systemd")
    )


@pytest.mark.parametrize(
    ("socket", "engine"),
    [
        ("/run/containerd/containerd.sock", EngineName.CONTAINERD),
        ("/var/run/crio/crio.sock", EngineName.CRIO),
        ("/run/cri-dockerd.sock", EngineName.DOCKER),
        ("/run/something.sock", None),
    ],
)
def test_a_sockets_name_stands_for_its_engine(socket: str, engine: EngineName | None) -> None:
    assert engine_of(socket) is engine


@pytest.mark.parametrize(
    ("arguments", "config", "driver"),
    [
        (("kubelet", "--cgroup-driver=systemd"), b"cgroupDriver: cgroupfs\n", "systemd"),
        (("kubelet", "--config", CONFIG), b"cgroupDriver: systemd # ours\n", "systemd"),
        (("kubelet", "--config", CONFIG), b'{"cgroupDriver":"cgroupfs"}', "cgroupfs"),
        (("kubelet", "--config", CONFIG), b'{"a":{"b":1},"cgroupDriver":"systemd"}', "systemd"),
        (("kubelet", "--config", CONFIG), b"kind: X\n", None),
        (("kubelet", "--config", CONFIG), b"cgroupDriver: other\n", None),
        (("kubelet", "--config", CONFIG), b'{"cgroupDriver": 1}', None),
        (("kubelet", "--config", CONFIG), b"[1, 2]", None),
        (("kubelet", "--config", CONFIG), b"[" * 100_000, None),
        (("kubelet", "--config", CONFIG), b"\xff\0\x01{{{", None),
        (("kubelet", "--config", CONFIG), b"", None),
        (("kubelet", "--config"), b"cgroupDriver: systemd\n", None),
        (("kubelet",), b"cgroupDriver: systemd\n", None),
    ],
)
def test_the_kubelets_cgroup_driver_is_read_where_it_is_set(
    arguments: tuple[str, ...], config: bytes, driver: str | None
) -> None:
    kubelet = process(9, "/usr/bin/x", *arguments, name=arguments[0].rpartition("/")[2])
    table, view = FakeTable(SYSTEMD, kubelet), FakeView({CONFIG: config})
    assert cgroup_driver(table, view) == KubeletSetting(value=driver)


def test_the_cgroup_driver_of_a_distribution_in_one_binary_is_not_known() -> None:
    assert (
        cgroup_driver(FakeTable(process(9, "/usr/bin/x", "k3s", "server", name="k3s")), FakeView())
        is None
    )


@pytest.mark.parametrize(
    ("drop_ins", "driver"),
    [
        ({}, "cgroupfs"),
        ({"10.conf": b"kind: X\n"}, "cgroupfs"),
        ({"10.conf": b"cgroupDriver: systemd\n", "README": b"cgroupDriver: x\n"}, "systemd"),
        ({"10.conf": b"cgroupDriver: systemd\n", "20.conf": b"cgroupDriver: cgroupfs"}, "cgroupfs"),
    ],
)
def test_the_last_drop_in_of_the_kubelet_wins_over_its_config(
    drop_ins: dict[str, bytes], driver: str
) -> None:
    files = {f"/etc/kubelet.d/{name}": content for name, content in drop_ins.items()}
    arguments = ("kubelet", "--config", CONFIG, "--config-dir=/etc/kubelet.d")
    table = FakeTable(process(9, "/usr/bin/kubelet", *arguments))
    view = HostTree({CONFIG: b"cgroupDriver: cgroupfs\n", **files})
    assert cgroup_driver(table, view) == KubeletSetting(value=driver)


class Unreadable(FakeView):
    """A view of a disk that fails."""

    def read(self, path: str) -> bytes | None:
        raise HostPathError(f"cannot read {path}: Input/output error")


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (FakeView(), f"{CONFIG}, which the kubelet names, is not there"),
        (Unreadable(), f"cannot read {CONFIG}: Input/output error"),
    ],
)
def test_a_config_that_can_not_be_read_is_no_word_of_the_kubelet(
    view: FakeView, reason: str
) -> None:
    table = FakeTable(process(9, "/usr/bin/kubelet", "kubelet", "--config", CONFIG))
    assert cgroup_driver(table, view) == KubeletSetting(value=None, unread=reason)
    assert endpoint(table, view) is None
    named = ("kubelet", "--config", CONFIG, "--container-runtime-endpoint=unix:///run/a.sock")
    assert endpoint(FakeTable(process(9, "/usr/bin/kubelet", *named)), view) == "/run/a.sock"
