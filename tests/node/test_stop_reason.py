"""Why the daemon is stopped, on a node with systemd and in the pod of a DaemonSet."""

from __future__ import annotations

import base64
import itertools
import json
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import pytest

from testbed.nspawn import CONTAINER, InstallerContainer, Node, booted_node
from testbed.packages import REPOSITORY
from testbed.program import HANDLERS, snapshot
from testbed.sample_payload import make_sample_payload
from testbed.supervised import wait_for
from tests.fakes import api_server
from tests.fakes.api_server import FakeApiServer

pytestmark = pytest.mark.node

POD = """
mount --no-mtab -t tmpfs tmpfs /run
mkdir -p /run/secrets/kubernetes.io
cp -r "$1" /run/secrets/kubernetes.io/serviceaccount
shift
exec "$@"
"""
"""A pod: its service account lies where the kubelet mounts it. /var/run is /run here."""
PROGRAM = (str(REPOSITORY / ".venv/bin/python"), "-m", "toolkit", "--runtime=containerd")
SLOW_TO_STOP = """\
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/bin/sh -c 'until [ -e /root/may-stop ]; do sleep 0.1; done'
"""
"""A service that holds a shutdown up until the test lets it go on."""
PACE = 0.2
"""Seconds between two starts of containers."""


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    make_sample_payload(tmp_path / "payload")
    return {
        "TOOLKIT_SOURCE_ROOT": str(tmp_path / "payload"),
        "TOOLKIT_PACKAGE_TYPE": "deb",
        "TOOLKIT_STOP_TIMEOUT": "30",
    }


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeApiServer]:
    with FakeApiServer(tmp_path / "cluster") as running:
        yield running


def start_pod(node: Node, variables: dict[str, str], server: FakeApiServer) -> InstallerContainer:
    program = ("sh", "-ec", POD, "sh", str(server.account), *PROGRAM)
    return node.start_container(program, {**variables, **server.environment})


def start_service(node: Node, variables: dict[str, str]) -> None:
    """Start the installer as a unit of the node: a shutdown sends it SIGTERM."""
    given = {**variables, "HOST_ROOT_MOUNT": str(node.host_root), "PATH": "/usr/sbin:/usr/bin:/bin"}
    program = ("env", f"--chdir={REPOSITORY}", "-i", *(f"{k}={v}" for k, v in given.items()))
    container = ("unshare", "--mount", "sh", "-c", CONTAINER, "sh")
    node.run(
        *("systemd-run", "--unit=installer", "--property=DefaultDependencies=no"),
        *("--property=Conflicts=shutdown.target", "--property=Before=shutdown.target"),
        "--property=StandardError=append:/root/installer.log",
        *(*container, f"/outer{node.host_root.parent}", *program, *PROGRAM),
    )


def log_of_service(node: Node) -> str:
    return (node.root / "root/installer.log").read_text()


def ready_file(node: Node) -> Path:
    return Path(f"/proc/{node.init}/root/run/nvidia/toolkit/toolkit-ready")


def wait_ready(node: Node, log: Callable[[], str]) -> None:
    try:
        wait_for(lambda: ready_file(node).exists(), "the ready file", 60)
    except TimeoutError as error:
        raise TimeoutError(f"{error}\n{log()[-4000:]}") from None


def binary_of_a_default_pod(node: Node) -> str:
    """Start a container of the default handler, and say what it is run by."""
    pod = node.cri.run_pod()
    try:
        info = node.run("ctr", "--namespace=k8s.io", "containers", "info", pod.container_id)
        options = json.loads(info)["Runtime"]["Options"]
        return base64.b64decode(options["value"]).decode(errors="replace") if options else ""
    finally:
        node.cri.remove_pod(pod)


WRAPPER = "/usr/local/nvidia/toolkit/nvidia-container-runtime"


@pytest.mark.parametrize("graceful", [False, True], ids=["by systemd", "by a kubelet"])
def test_a_shutdown_keeps_the_setup_and_the_boot_finds_it_served(
    variables: dict[str, str], *, graceful: bool
) -> None:
    with booted_node() as node:
        node.import_image()
        start_service(node, variables)
        wait_ready(node, lambda: log_of_service(node))
        assert WRAPPER in binary_of_a_default_pod(node)
        shut_down(node, graceful=graceful)
        log = log_of_service(node)
        assert "keeping the setup: the host or its engine is going down" in log, log
        assert ("logind prepares" if graceful else "systemd is stopping") in log
        (node.root / "root/installer.log").unlink()

        node.boot()
        assert node.cri.served().default == "nvidia", "before the installer is there again"
        assert WRAPPER in binary_of_a_default_pod(node)
        engine = node.unit_pid()
        start_service(node, variables)
        wait_ready(node, lambda: log_of_service(node))
        assert node.unit_pid() == engine
        assert WRAPPER in binary_of_a_default_pod(node)


def shut_down(node: Node, *, graceful: bool) -> None:
    """Power the node off in an orderly way, and wait for its end.

    ``graceful``: the pod ends while somebody holds logind's delay lock, as the kubelet does.
    """
    if graceful:
        lock = "systemd-inhibit --what=shutdown --mode=delay sh -c"
        waits = "while systemctl -q is-active installer; do sleep 0.1; done"
        node.run("sh", "-c", f"systemd-run --unit=kubelet {lock} {shlex.quote(waits)}")
        wait_for(lambda: "sh" in node.run("systemd-inhibit", "--list"), "the lock")
        # Longer than the usual 5 s: a busy machine must not cut the pod's end off.
        (node.root / "etc/systemd/logind.conf.d").mkdir(parents=True)
        (node.root / "etc/systemd/logind.conf.d/delay.conf").write_text(
            "[Login]\nInhibitDelayMaxSec=60\n"
        )
        node.run("systemctl", "kill", "--signal=HUP", "systemd-logind")
        node.run("systemctl", "poweroff")
        node.run("systemctl", "kill", "--signal=TERM", "installer")
    else:
        (node.root / "etc/systemd/system/slow.service").write_text(SLOW_TO_STOP)
        node.run("systemctl", "start", "slow")
        node.run("systemctl", "poweroff", "--no-block")
        wait_for(lambda: "stopped; the setup" in log_of_service(node), "the installer's end", 60)
        (node.root / "root/may-stop").touch()
    wait_for(lambda: not node.booted, "the node to be off", 120)


class Containers:
    """Starts a container of each handler in turn, all the time, and counts."""

    def __init__(self, node: Node) -> None:
        self.started = 0
        self.failures: list[str] = []
        self._node = node
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="containers")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        for handler in itertools.cycle(("", *HANDLERS)):
            began = time.monotonic()
            try:
                self._node.cri.run_to_end(handler, ("/bin/true",))
            except (grpc.RpcError, RuntimeError, TimeoutError) as error:
                self.failures.append(f"{handler}: {error}")
            self.started += 1
            if self._over.wait(max(0.0, began + PACE - time.monotonic())):
                return


def test_twenty_rollouts_restart_no_engine_and_fail_no_container(
    node: Node, variables: dict[str, str], server: FakeApiServer
) -> None:
    node.import_image()
    before = snapshot(node.root / "etc", node.root / "usr/local")
    pod = start_pod(node, variables, server)
    wait_ready(node, lambda: pod.stderr)
    engine = node.unit_pid()
    with Containers(node) as containers:
        for _ in range(20):
            pod.kill(signal.SIGTERM)
            assert pod.wait() == 0, pod.stderr
            assert "keeping the setup: its DaemonSet goes on" in pod.stderr, pod.stderr
            pod = start_pod(node, variables, server)
            wait_ready(node, lambda: pod.stderr)  # noqa: B023 - waits here and now
    assert containers.failures == []
    assert containers.started > 20
    assert node.unit_pid() == engine
    server.delete()
    pod.kill(signal.SIGTERM)
    assert pod.wait() == 0, pod.stderr
    assert "reverting: its DaemonSet is deleted" in pod.stderr
    assert snapshot(node.root / "etc", node.root / "usr/local") == before


def gone_in_the_background(server: FakeApiServer) -> None:
    server.delete()


def gone_in_the_foreground(server: FakeApiServer) -> None:
    server.delete(foreground=True)


def without_its_label(server: FakeApiServer) -> None:
    server.objects[api_server.NODE_PATH] = api_server.node(other="label")


def down(server: FakeApiServer) -> None:
    server.stop()


def forbidden(server: FakeApiServer) -> None:
    server.status = 403


def slow(server: FakeApiServer) -> None:
    server.delay = 5.0


def endless(server: FakeApiServer) -> None:
    server.drips = True


def of_another_ca(server: FakeApiServer) -> None:
    other = server.account.parent / "other"
    api_server.make_certificates(server.account.parent, other)
    (other / "ca.crt").replace(server.account / "ca.crt")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (gone_in_the_background, "reverting: its DaemonSet is deleted"),
        (gone_in_the_foreground, "reverting: its DaemonSet is deleted"),
        (without_its_label, "reverting: its DaemonSet does not select this node any more"),
        (down, "Connection refused"),
        (forbidden, "403"),
        (slow, "the API server took too long"),
        (endless, "the API server took too long"),
        (of_another_ca, "certificate verify failed"),
    ],
)
def test_a_pod_that_nobody_follows_leaves_the_node_as_it_was(
    node: Node,
    variables: dict[str, str],
    server: FakeApiServer,
    change: Callable[[FakeApiServer], None],
    reason: str,
) -> None:
    before = snapshot(node.root / "etc", node.root / "usr/local")
    if change is of_another_ca:  # the pod has its copy of the CA from its start on
        change(server)
    pod = start_pod(node, variables, server)
    wait_ready(node, lambda: pod.stderr)
    if change is not of_another_ca:
        change(server)
    pod.kill(signal.SIGTERM)
    assert pod.wait() == 0, pod.stderr
    assert reason in pod.stderr, pod.stderr
    assert snapshot(node.root / "etc", node.root / "usr/local") == before
    assert not ready_file(node).parent.exists()
    assert not set(node.cri.served().handlers) & set(HANDLERS)


def test_a_pod_that_is_not_told_its_names_does_what_the_flag_says(
    node: Node, variables: dict[str, str]
) -> None:
    """As under the GPU Operator."""
    told = {"TOOLKIT_ON_EXIT_UNKNOWN": "keep", "KUBERNETES_SERVICE_HOST": "127.0.0.1"}
    pod = node.start_container(PROGRAM, {**variables, **told})
    wait_ready(node, lambda: pod.stderr)
    pod.kill(signal.SIGTERM)
    assert pod.wait() == 0, pod.stderr
    assert "--on-exit-unknown says keep" in pod.stderr
    assert set(node.cri.served().handlers) >= set(HANDLERS)
    reverting = node.start_container((*PROGRAM, "revert"), variables)
    assert reverting.wait() == 0, reverting.stderr
