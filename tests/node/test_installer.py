"""The whole job on a node whose containerd belongs to systemd, all paths at their defaults."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.containerd import RELEASES, ContainerdRelease
from testbed.nspawn import InstallerContainer, Node, booted_node
from testbed.probe import DowntimeProbe
from testbed.program import HANDLERS, snapshot
from testbed.sample_payload import make_sample_payload
from testbed.supervised import wait_for

pytestmark = pytest.mark.node

CONFIG = b"""\
version = 2
# this node's own
[plugins."io.containerd.grpc.v1.cri"]
  max_concurrent_downloads = 5
"""


@pytest.fixture(params=RELEASES[1:], ids=lambda release: f"containerd-{release.series}")
def newer_node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node with each newer containerd."""
    release: ContainerdRelease = request.param
    with booted_node(release) as booted:
        yield booted


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The sample payload."""
    make_sample_payload(tmp_path / "payload")
    return tmp_path / "payload"


def start(node: Node, source: Path, *arguments: str) -> InstallerContainer:
    variables = {"TOOLKIT_SOURCE_ROOT": str(source), "TOOLKIT_PACKAGE_TYPE": "deb"}
    return node.start_installer(["--runtime=containerd", *arguments], variables)


def ready_file(node: Node) -> Path:
    return Path(f"/proc/{node.init}/root/run/nvidia/toolkit/toolkit-ready")


def wait_ready(node: Node, installer: InstallerContainer) -> float:
    """Wait for the ready file; return the seconds since the start."""
    wait_for(lambda: ready_file(node).exists() or not installer.running(), "the ready file")
    assert installer.running(), installer.stderr
    return time.monotonic() - installer.started_at


def round_trip(node: Node, source: Path) -> None:
    """Set up and revert once; everything is as it was, and nobody waited out RestartSec."""
    before = snapshot(node.root / "etc", node.root / "usr/local")
    with DowntimeProbe(node.socket) as probe:
        installer = start(node, source)
        seconds = wait_ready(node, installer)
    outage = probe.longest()
    assert outage is not None
    served = node.cri.served()
    binaries = {name: f"/usr/local/nvidia/toolkit/{file}" for name, file in HANDLERS.items()}
    assert {name: served.handlers.get(name) for name in HANDLERS} == binaries
    assert served.default == "nvidia"
    sys.stderr.write(
        f"start to verified {seconds:.2f} s, socket away {outage.refused:.3f} s,"
        f" CRI answering after {outage.silent:.3f} s\n"
    )
    assert node.automatic_restarts() == 0

    with DowntimeProbe(node.socket) as probe:
        installer.kill(signal.SIGTERM)
        assert installer.wait() == 0, installer.stderr
    assert probe.longest() is not None
    assert node.automatic_restarts() == 0
    assert not set(node.cri.served().handlers) & set(HANDLERS)
    assert snapshot(node.root / "etc", node.root / "usr/local") == before
    assert not ready_file(node).parent.exists()


def test_a_node_without_a_config_file_is_set_up_and_has_none_afterwards(
    node: Node, source: Path
) -> None:
    shipped = (node.root / "etc/containerd").rename(node.root / "root/containerd.shipped")
    try:
        round_trip(node, source)
    finally:
        shipped.rename(node.root / "etc/containerd")


def test_a_node_as_debian_ships_it_is_set_up_and_reverted(node: Node, source: Path) -> None:
    assert (node.root / "etc/containerd/config.toml").exists()
    round_trip(node, source)


def test_a_node_with_a_newer_containerd_is_set_up_and_reverted(
    newer_node: Node, source: Path
) -> None:
    config = newer_node.root / "etc/containerd/config.toml"
    config.unlink()
    round_trip(newer_node, source)
    config.write_bytes(CONFIG)
    config.chmod(0o600)
    round_trip(newer_node, source)


def test_a_second_run_with_nothing_changed_leaves_the_engine_alone(
    node: Node, source: Path
) -> None:
    installer = start(node, source, "--no-daemon")
    assert installer.wait() == 0, installer.stderr
    pid = node.unit_pid()
    installer = start(node, source, "--no-daemon")
    assert installer.wait() == 0, installer.stderr
    assert node.unit_pid() == pid
    reverting = start(node, source, "revert")
    assert reverting.wait() == 0, reverting.stderr
    assert not (node.root / "usr/local/nvidia").exists()


def test_six_rounds_at_once_leave_the_engine_running_despite_its_start_limit(
    node: Node, source: Path
) -> None:
    for _ in range(6):
        installer = start(node, source)
        wait_ready(node, installer)
        installer.kill(signal.SIGTERM)
        assert installer.wait() == 0, installer.stderr
    assert node.run("systemctl", "is-active", "containerd").strip() == "active"
    assert node.cri.ready()


def test_a_container_lives_through_set_up_and_revert(node: Node, source: Path) -> None:
    node.import_image()
    pod = node.cri.run_pod("runc")
    state = node.cri.container_state(pod)
    installer = start(node, source)
    wait_ready(node, installer)
    assert node.cri.container_state(pod) == state
    assert node.cri.run_to_end("nvidia", ("/bin/echo", "through nvidia")) == "through nvidia"
    installer.kill(signal.SIGTERM)
    assert installer.wait() == 0, installer.stderr
    assert node.cri.container_state(pod) == state
    node.cri.remove_pod(pod)
