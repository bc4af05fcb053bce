"""A node with systemd, set up and reverted with the capabilities of SECURITY.md's table."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from testbed.nspawn import InstallerContainer, Node
from testbed.packages import REPOSITORY
from testbed.program import snapshot
from testbed.sample_payload import make_sample_payload
from testbed.supervised import wait_for
from tests.rights import with_rights

pytestmark = pytest.mark.node


def start(node: Node, source: Path, mode: str, *rights: str) -> InstallerContainer:
    program = (sys.executable, "-m", "toolkit", "--runtime=containerd", f"--restart-mode={mode}")
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY),
        "TOOLKIT_SOURCE_ROOT": str(source),
        "TOOLKIT_PACKAGE_TYPE": "deb",
    }
    return node.start_container((*with_rights(*rights), *program), variables)


@pytest.mark.parametrize("mode", ["auto", "systemd"])
def test_an_engine_that_belongs_to_systemd_needs_the_right_to_run_systemctl_on_the_host(
    node: Node, tmp_path: Path, mode: str
) -> None:
    source = tmp_path / "payload"
    make_sample_payload(source)
    before = snapshot(node.root / "etc", node.root / "usr/local")
    for rights in ((), ("sys_ptrace",), ("sys_chroot",)):
        installer = start(node, source, mode, *rights)
        assert installer.wait() == 1, installer.stderr
        assert snapshot(node.root / "etc", node.root / "usr/local") == before
    installer = start(node, source, mode, "sys_ptrace", "sys_chroot")
    ready = Path(f"/proc/{node.init}/root/run/nvidia/toolkit/toolkit-ready")
    wait_for(lambda: ready.exists() or not installer.running(), "the ready file", 60)
    assert installer.running(), installer.stderr
    installer.kill(signal.SIGTERM)
    assert installer.wait() == 0, installer.stderr
    assert snapshot(node.root / "etc", node.root / "usr/local") == before
