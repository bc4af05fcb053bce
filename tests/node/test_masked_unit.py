"""The engine's unit is masked: it runs, and nothing would start it once it is signalled."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.nspawn import Node
from testbed.program import snapshot
from testbed.sample_payload import make_sample_payload
from testbed.supervised import wait_for
from toolkit.errors import ExitCode

pytestmark = pytest.mark.node
UNIT = "containerd.service"


def test_a_unit_that_is_masked_is_refused_before_anything_is_written_or_signalled(
    node: Node, tmp_path: Path
) -> None:
    make_sample_payload(tmp_path / "payload")
    before, served = (
        snapshot(node.root / "etc/containerd", node.root / "usr/local"),
        node.cri.served(),
    )
    variables = {
        "TOOLKIT_SOURCE_ROOT": str(tmp_path / "payload"),
        "TOOLKIT_PACKAGE_TYPE": "deb",
        "TOOLKIT_VERIFY_TIMEOUT": "6",
    }
    pid = node.unit_pid()
    node.run("systemctl", "mask", "--runtime", UNIT)
    try:
        doctor = node.start_installer(["doctor", "--runtime=containerd"], variables)
        examined = doctor.wait()
        installer = node.start_installer(["--runtime=containerd", "--no-daemon"], variables)
        code = installer.wait()
        unharmed = node.unit_pid() == pid
    finally:
        node.run("systemctl", "unmask", "--runtime", UNIT)
        node.run("systemctl", "start", UNIT)
        wait_for(node.cri.ready, "the node's containerd")
    assert examined == ExitCode.FAILED
    assert code == ExitCode.FAILED, installer.stderr
    assert f"{UNIT} is masked" in installer.stderr
    assert unharmed
    assert snapshot(node.root / "etc/containerd", node.root / "usr/local") == before
    assert node.cri.served() == served
