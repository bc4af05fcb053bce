"""A k3s that finds the payload by itself: set up, reverted, upgraded, failed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.nspawn import InstallerContainer
from testbed.program import snapshot
from testbed.sample_payload import make_sample_payload
from testbed.supervised import wait_for
from tests.node.k3s import AGENT, BINARIES, K3sNode, booted_k3s
from toolkit.errors import ExitCode

pytestmark = pytest.mark.node
OURS = {"nvidia", "nvidia-cdi", "nvidia-legacy"}


@pytest.fixture(scope="module")
def k3s() -> Iterator[K3sNode]:
    with booted_k3s() as made:
        yield made


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    make_sample_payload(tmp_path / "payload")
    source = str(tmp_path / "payload")
    return {"TOOLKIT_SOURCE_ROOT": source, "TOOLKIT_PACKAGE_TYPE": "deb", "RUNTIME": "containerd"}


def files(k3s: K3sNode) -> dict[str, tuple[object, ...]]:
    root = k3s.node.root
    return snapshot(root / "etc", root / "usr/local", root / AGENT)


def served(k3s: K3sNode) -> set[str]:
    return set(k3s.cri.served().handlers) - {"runc"}


def done(installer: InstallerContainer) -> None:
    assert installer.wait() == ExitCode.DONE, installer.stderr


def test_a_node_is_set_up_and_reverted_also_while_a_container_keeps_the_payload(
    k3s: K3sNode, variables: dict[str, str]
) -> None:
    k3s.import_image()
    before = files(k3s)
    installer = k3s.node.start_installer([], variables)
    ready = Path(f"/proc/{k3s.node.init}/root/run/nvidia/toolkit/toolkit-ready")
    wait_for(lambda: ready.exists() or not installer.running(), "the ready file")
    assert installer.running(), installer.stderr
    assert served(k3s) == OURS
    assert k3s.cri.served().default == "nvidia"
    pod = k3s.cri.run_pod("nvidia")
    installer.kill(signal.SIGTERM)
    done(installer)
    assert "used_by=" in installer.stderr
    assert served(k3s) == set(BINARIES)
    assert k3s.cri.served().default == "runc"
    k3s.cri.remove_pod(pod)
    done(k3s.node.start_installer(["revert"], variables))
    assert served(k3s) == set()
    assert files(k3s) == before


def test_a_node_whose_k3s_is_upgraded_has_each_handler_once(
    k3s: K3sNode, variables: dict[str, str]
) -> None:
    before = files(k3s)
    k3s.find(["nvidia"])
    k3s.restart()
    done(k3s.node.start_installer(["--no-daemon"], variables))
    assert served(k3s) == OURS
    k3s.find(list(BINARIES))
    k3s.restart()
    assert served(k3s) == OURS
    done(k3s.node.start_installer(["revert"], variables))
    assert served(k3s) == set()
    assert files(k3s) == before


def test_a_set_up_that_k3s_can_not_start_with_is_undone(
    k3s: K3sNode, variables: dict[str, str]
) -> None:
    before = files(k3s)
    refused = '{"privileged_without_host_devices_all_devices_allowed": true}'
    wrong = f"--runtime-config-override={refused}"
    installer = k3s.node.start_installer(["--no-daemon", "--verify-timeout=8", wrong], variables)
    assert installer.wait() == ExitCode.FAILED, installer.stderr
    assert "undoing the setup" in installer.stderr
    assert served(k3s) == set()
    assert files(k3s) == before
