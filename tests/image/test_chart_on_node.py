"""The chart's pod, as rendered, run by the node's containerd: keep, revert, probes."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from testbed.nspawn import Node
from testbed.packages import REPOSITORY
from testbed.supervised import wait_for
from tests.image.host import IMAGE, DockerHost

pytest.importorskip("helm_python", reason="Helm's library has no wheel for this machine")
pytestmark = pytest.mark.image

PROBES = itertools.count()
HANDLERS = {"nvidia", "nvidia-cdi", "nvidia-legacy"}
CLIENTS_OWN = (
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW"),
    *("CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE"),
    *("CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"),
)
"""What ``ctr run`` gives without being told (containerd, oci/spec.go, defaultUnixCaps)."""
FIVE = sum(1 << number for number in (0, 1, 3, 18, 19))
"""CHOWN, DAC_OVERRIDE, FOWNER, SYS_CHROOT, SYS_PTRACE (capabilities(7))."""
CONFIG = b"# the node's own\nversion = 2\n"
FOUR = (
    "operator.defaultRuntime=containerd"
    ",toolkit.env[0].name=CONTAINERD_CONFIG,toolkit.env[0].value=/etc/containerd/config.toml"
    ",toolkit.env[1].name=CONTAINERD_SOCKET"
    ",toolkit.env[1].value=/run/containerd/containerd.sock"
    ",toolkit.env[2].name=CONTAINERD_RUNTIME_CLASS,toolkit.env[2].value=nvidia"
    ",toolkit.env[3].name=CONTAINERD_SET_AS_DEFAULT,toolkit.env[3].value=true"
)


def pod_spec(values: str) -> dict[str, Any]:
    program = (sys.executable, str(REPOSITORY / "tools/chart.py"), "render", values)
    texts = json.loads(subprocess.run(program, check=True, capture_output=True).stdout)
    text = next(text for name, text in texts.items() if name.endswith("daemonset.yaml"))
    spec: dict[str, Any] = yaml.safe_load(text)["spec"]["template"]["spec"]
    return spec


class ChartPod:
    """One pod of the chart, as the kubelet would have it run."""

    def __init__(self, node: Node, name: str, values: str) -> None:
        self.node = node
        self.name = name
        self.spec = pod_spec(values)
        (self.container,) = self.spec["containers"]

    def start(self) -> None:
        paths = {each["name"]: each["hostPath"]["path"] for each in self.spec["volumes"]}
        mounts = [
            f"--mount=type=bind,src={paths[each['name']]},dst={each['mountPath']}"
            f",options=rbind:{'rslave:' if 'mountPropagation' in each else ''}"
            f"{'ro' if each.get('readOnly') else 'rw'}"
            for each in self.container["volumeMounts"]
        ]
        self.node.run("mkdir", "-p", *paths.values())
        variables = [
            f"--env={each['name']}={each['value']}"
            for each in self.container["env"]
            if "value" in each
        ]
        assert self.spec["hostPID"]
        self.ctr(
            *("run", "--detach", *self.rights(), "--with-ns=pid:/proc/1/ns/pid"),
            *(*mounts, *variables, "--log-uri=file:///root/chart.log"),
            *(f"docker.io/library/{IMAGE}:latest", self.name),
        )

    def rights(self) -> list[str]:
        """Return the pod's security context, as the kubelet would have it."""
        context = self.container["securityContext"]
        if context["privileged"]:
            return ["--privileged"]
        # Of its own the client gives what Docker does, and takes away by name alone.
        added = [f"CAP_{each}" for each in context["capabilities"]["add"]]
        dropped = [each for each in CLIENTS_OWN if each not in added]
        given = [each for each in added if each not in CLIENTS_OWN]
        return [f"--cap-drop={each}" for each in dropped] + [f"--cap-add={each}" for each in given]

    def capabilities(self) -> int:
        """Return the mask of those that the pod's process can ever have."""
        tasks = self.node.run("ctr", "--namespace=k8s.io", "tasks", "list").splitlines()
        pid = next(line.split()[1] for line in tasks if line.startswith(f"{self.name} "))
        status = self.node.run("cat", f"/proc/{pid}/status").splitlines()
        return int(next(line.split()[1] for line in status if line.startswith("CapBnd:")), 16)

    def ctr(self, *arguments: str) -> str:
        return self.node.run("ctr", "--namespace=k8s.io", *arguments)

    def listed(self, state: str) -> bool:
        listed = self.node.run("sh", "-c", "ctr --namespace=k8s.io tasks list 2>&1 || true")
        return any(self.name in line and state in line for line in listed.splitlines())

    def probe(self) -> bool:
        command = self.container["readinessProbe"]["exec"]["command"]
        try:
            # A number of its own: one that was under way as the engine went stays taken.
            self.ctr("tasks", "exec", f"--exec-id=probe-{next(PROBES)}", self.name, *command)
        except RuntimeError:
            return False
        return True

    def wait_ready(self) -> None:
        try:
            wait_for(self.probe, "the readiness probe to succeed")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.node.run('cat', '/root/chart.log')}") from None

    def stop(self) -> None:
        self.ctr("tasks", "kill", "--signal=SIGTERM", self.name)
        wait_for(lambda: self.listed("STOPPED"), "the pod to end")


@pytest.fixture
def node(docker: DockerHost) -> Iterator[Node]:
    node = docker.node
    node.run("sh", "-c", f"docker save {IMAGE} | ctr --namespace=k8s.io images import -")
    config = node.root / "etc/containerd/config.toml"
    config.parent.mkdir(exist_ok=True)
    config.write_bytes(CONFIG)
    node.run("systemctl", "reset-failed", "containerd")
    node.run("systemctl", "restart", "containerd")
    wait_for(node.cri.ready, "containerd")
    yield node
    node.run("sh", "-c", "rm -rf /run/nvidia/toolkit /usr/local/nvidia/* /root/chart.log")


def test_a_node_that_was_kept_is_reverted_by_the_next_pod(node: Node) -> None:
    config = node.root / "etc/containerd/config.toml"
    kept = ChartPod(node, "kept", f"{FOUR},onExit=keep")
    kept.start()
    kept.wait_ready()
    assert set(node.cri.served().handlers) >= HANDLERS
    assert node.cri.served().default == "nvidia"
    engine = node.unit_pid()
    kept.stop()
    assert set(node.cri.served().handlers) >= HANDLERS, "a rolling update leaves the node set up"

    reverting = ChartPod(node, "reverting", f"{FOUR},onExit=revert")
    reverting.start()
    reverting.wait_ready()
    assert node.unit_pid() == engine, "nothing differs, so nothing is restarted"
    reverting.stop()
    wait_for(node.cri.ready, "containerd")
    assert not set(node.cri.served().handlers) & HANDLERS
    assert config.read_bytes() == CONFIG
    assert not (node.root / "usr/local/nvidia").exists()


def test_a_pod_that_is_not_privileged_sets_up_and_reverts_on_a_node_that_is_read_only(
    node: Node,
) -> None:
    config = node.root / "etc/containerd/config.toml"
    os.chown(config, 1234, 1234)
    config.chmod(0o600)
    least = "securityContext.privileged=false,securityContext.configDirs={/etc/containerd}"
    pod = ChartPod(node, "least-rights", f"{FOUR},onExit=revert,{least}")
    pod.start()
    pod.wait_ready()
    assert pod.capabilities() == FIVE
    assert set(node.cri.served().handlers) >= HANDLERS
    pod.stop()
    wait_for(node.cri.ready, "containerd")
    assert not set(node.cri.served().handlers) & HANDLERS
    assert config.read_bytes() == CONFIG
    status = config.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (1234, 1234, 0o600)
    assert not (node.root / "usr/local/nvidia/toolkit").exists()
    os.chown(config, 0, 0)
