"""The node itself: systemd, its PID namespace, and the place of the installer's container."""

from __future__ import annotations

import signal

import pytest

from testbed.nspawn import Node
from testbed.probe import DowntimeProbe
from testbed.supervised import wait_for

pytestmark = pytest.mark.node


def test_the_node_runs_containerd_under_its_unit(node: Node) -> None:
    assert node.run("systemctl", "is-active", "containerd").strip() == "active"
    assert node.unit_pid() > 1


def test_a_container_on_the_node_sees_its_processes_and_restarts_its_units(node: Node) -> None:
    before = node.unit_pid()
    container = node.start_container(
        ("sh", "-c", 'cat /proc/1/comm; chroot "$HOST_ROOT_MOUNT" systemctl restart containerd')
    )
    assert container.wait() == 0, container.stderr
    assert container.stdout == "systemd\n"
    assert node.unit_pid() != before


def test_a_signal_reaches_the_program_in_the_container(node: Node) -> None:
    container = node.start_container(
        ("sh", "-c", "trap 'exit 7' TERM; echo set; while :; do sleep 0.05; done")
    )
    wait_for(lambda: container.stdout, "the trap")
    container.kill(signal.SIGTERM)
    assert container.wait() == 7


def test_the_probe_sees_how_long_a_restart_takes(node: Node) -> None:
    with DowntimeProbe(node.socket) as probe:
        node.run("systemctl", "restart", "containerd")
        wait_for(probe.longest, "the probe to see it")
    outage = probe.longest()
    assert outage is not None
    assert 0.0 < outage.refused <= outage.silent


def test_a_pod_runs_on_the_node(node: Node) -> None:
    node.import_image()
    assert node.cri.run_to_end("", ("/bin/echo", "from the node")) == "from the node"
