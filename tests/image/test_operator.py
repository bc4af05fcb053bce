"""The image as the GPU Operator runs it: its script, mounts and variables, containerd as engine."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from testbed.nspawn import Node
from testbed.supervised import wait_for
from tests.image.host import IMAGE, DockerHost

pytestmark = pytest.mark.image

SCRIPT = """\
#!/bin/bash
set -e
until [ -f /run/nvidia/validations/driver-ready ]; do sleep 0.2; done
set -o allexport
. /run/nvidia/validations/driver-ready
exec nvidia-toolkit
"""
DRIVER_READY = "NVIDIA_DRIVER_ROOT=/run/nvidia/driver\nDRIVER_ROOT_CTR_PATH=/driver-root\n"
CONFIG = b"# the node's own\nversion = 2\n"
ALWAYS = {
    "ROOT": "/usr/local/nvidia",
    "TOOLKIT_PID_FILE": "/run/nvidia/toolkit/toolkit.pid",
    "NVIDIA_CONTAINER_RUNTIME_MODES_CDI_DEFAULT_KIND": "management.nvidia.com/gpu",
    "NVIDIA_VISIBLE_DEVICES": "void",
    "NRI_NAMESPACE": "gpu-operator",
}
CONTAINERD = {
    "RUNTIME": "containerd",
    "RUNTIME_CONFIG": "/runtime/config-dir/config.toml",
    "CONTAINERD_CONFIG": "/runtime/config-dir/config.toml",
    "RUNTIME_DROP_IN_CONFIG": "/runtime/config-dir.d/99-nvidia.toml",
    "RUNTIME_DROP_IN_CONFIG_HOST_PATH": "/etc/containerd/conf.d/99-nvidia.toml",
    "RUNTIME_SOCKET": "/runtime/sock-dir/containerd.sock",
    "CONTAINERD_SOCKET": "/runtime/sock-dir/containerd.sock",
    "CONTAINERD_RUNTIME_CLASS": "nvidia",
}
WITH_CDI = {
    "CDI_ENABLED": "true",
    "NVIDIA_RUNTIME_SET_AS_DEFAULT": "false",
    "NVIDIA_CONTAINER_RUNTIME_MODE": "cdi",
    "CRIO_CONFIG_MODE": "config",
}
OPERANDS = {
    "/run/nvidia/toolkit": "/run/nvidia/toolkit",
    "/run/nvidia/validations": "/run/nvidia/validations",
    "/usr/local/nvidia": "/usr/local/nvidia",
    "/run/containers/oci/hooks.d": "/usr/share/containers/oci/hooks.d",
    "/run/nvidia/driver": "/driver-root",
    "/var/run/cdi": "/var/run/cdi",
}
ENGINE = {
    "/etc/containerd": "/runtime/config-dir",
    "/etc/containerd/conf.d": "/runtime/config-dir.d",
    "/run/containerd": "/runtime/sock-dir",
}
RUNNING = 1
NUMBERS = itertools.count()
HANDLERS = {"nvidia", "nvidia-cdi", "nvidia-legacy"}


@dataclass
class Operand:
    """The operator's container, run by the node's containerd."""

    node: Node
    name: str = field(default_factory=lambda: f"toolkit-{next(NUMBERS)}")
    variables: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        mounts = [f"type=bind,src={src},dst={dst},options=rbind:rw" for src, dst in self.mounts()]
        mounts.insert(0, "type=bind,src=/,dst=/host,options=rbind:rslave:ro")
        mounts.append("type=bind,src=/root/script,dst=/bin/entrypoint.sh,options=bind:ro")
        self.ctr(
            *("run", "--detach", "--privileged", "--net-host", "--with-ns=pid:/proc/1/ns/pid"),
            *(f"--mount={mount}" for mount in mounts),
            *(f"--env={name}={value}" for name, value in self.variables.items()),
            "--log-uri=file:///root/operand.log",
            *(f"docker.io/library/{IMAGE}:latest", self.name, "/bin/sh", "-c"),
            "/bin/entrypoint.sh",
        )

    def mounts(self) -> list[tuple[str, str]]:
        return [*OPERANDS.items(), *ENGINE.items()]

    def ctr(self, *arguments: str) -> str:
        return self.node.run("ctr", "--namespace=k8s.io", *arguments)

    def log(self) -> str:
        return self.node.run("cat", "/root/operand.log")

    def stopped(self) -> bool:
        # The engine is away for a moment while it takes its config up.
        listed = self.node.run("sh", "-c", "ctr --namespace=k8s.io tasks list 2>&1 || true")
        return any(
            line.split()[0] == self.name and "STOPPED" in line
            for line in listed.splitlines()
            if line
        )

    def stop(self) -> None:
        self.ctr("tasks", "kill", "--signal=SIGTERM", self.name)
        wait_for(self.stopped, "the container to end")

    def ready(self) -> bool:
        present = "test -e /run/nvidia/toolkit/toolkit-ready && echo yes || true"
        return self.node.run("sh", "-c", present) == "yes\n"

    def remove(self) -> None:
        line = (
            f"ctr -n k8s.io tasks kill -s SIGKILL {self.name}; sleep 0.3;"
            f" ctr -n k8s.io tasks delete {self.name}; ctr -n k8s.io containers delete {self.name};"
            " rm -f /root/operand.log; true"
        )
        self.node.run("sh", "-c", line)


@pytest.fixture(scope="module")
def node(docker: DockerHost) -> Node:
    """The node, its containerd with the image, and the directories that an operator makes."""
    node = docker.node
    node.run("sh", "-c", f"docker save {IMAGE} | ctr --namespace=k8s.io images import -")
    node.run("mkdir", "-p", "/etc/containerd/conf.d", "/var/run/cdi", *OPERANDS)
    (node.root / "root/script").write_text(SCRIPT)
    (node.root / "root/script").chmod(0o700)
    return node


@pytest.fixture
def operand(node: Node) -> Iterator[Operand]:
    (node.root / "etc/containerd/config.toml").write_bytes(CONFIG)
    node.run("systemctl", "reset-failed", "containerd")
    node.run("systemctl", "restart", "containerd")
    wait_for(node.cri.ready, "containerd")
    made = Operand(node)
    yield made
    made.remove()
    left = "/run/nvidia/*/* /var/run/cdi/* /usr/local/nvidia/* /usr/local/nvidia/.[!.]*"
    node.run("sh", "-c", f"rm -rf {left}")


def driver_ready(node: Node) -> None:
    node.run("sh", "-c", f"printf '{DRIVER_READY}' > /run/nvidia/validations/driver-ready")


def set_up(operand: Operand, variables: Mapping[str, str]) -> None:
    operand.variables = {**ALWAYS, **variables}
    operand.start()
    wait_for(lambda: operand.ready() or operand.stopped(), "the daemon to be ready")
    assert operand.ready(), operand.log()


@pytest.mark.parametrize("cdi", [False, True], ids=["CDI off", "CDI on"])
def test_the_operators_container_sets_the_node_up_and_puts_it_back(
    operand: Operand, *, cdi: bool
) -> None:
    node = operand.node
    driver_ready(node)
    if cdi:
        node.run("install", "-D", "/dev/null", "/run/nvidia/driver/dev/nvidiactl")
    set_up(operand, CONTAINERD | (WITH_CDI if cdi else {}))
    served = node.cri.served()
    assert set(served.handlers) >= HANDLERS
    assert served.default == ("runc" if cdi else "nvidia")
    config = (node.root / "etc/containerd/config.toml").read_text()
    assert '"/usr/local/nvidia/toolkit/nvidia-container-runtime"' in config
    assert "/runtime/" not in config, "paths that the host reads are host paths"
    toolkit = node.root / "usr/local/nvidia/toolkit"
    own = (toolkit / ".config/nvidia-container-runtime/config.toml").read_text()
    assert ('mode = "cdi"' in own) is cdi
    assert 'default-kind = "management.nvidia.com/gpu"' in own
    specs = node.run("ls", "/var/run/cdi").split()
    assert bool(specs) is cdi
    operand.stop()
    assert (node.root / "etc/containerd/config.toml").read_bytes() == CONFIG, operand.log()
    wait_for(node.cri.ready, "containerd")
    assert not set(node.cri.served().handlers) & HANDLERS
    assert not toolkit.exists()
    assert not operand.ready()
    assert not node.run("ls", "/var/run/cdi").split()


def test_a_pod_that_runs_meanwhile_lives_on(operand: Operand) -> None:
    node = operand.node
    driver_ready(node)
    node.import_image()
    pod = node.cri.run_pod("", ("/bin/sleep", "1000"))
    set_up(operand, CONTAINERD)
    operand.stop()
    wait_for(node.cri.ready, "containerd")
    assert node.cri.container_state(pod) == RUNNING
    node.cri.remove_pod(pod)


def test_sigterm_while_the_operators_script_waits_for_the_driver_ends_it(operand: Operand) -> None:
    operand.variables = {**ALWAYS, **CONTAINERD}
    operand.start()
    time.sleep(0.5)
    operand.stop()
    assert (operand.node.root / "etc/containerd/config.toml").read_bytes() == CONFIG
