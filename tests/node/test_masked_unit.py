"""The engine's unit is masked meanwhile: nothing can start it, until somebody unmasks it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.program import snapshot
from tests.engine.supervised import wait_for
from tests.node.nspawn import Node
from tests.sample_payload import make_sample_payload
from toolkit.errors import ExitCode

pytestmark = pytest.mark.node
UNIT = "containerd.service"


def test_a_unit_that_is_masked_meanwhile_gets_its_old_files_back_and_serves_them_once_unmasked(
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
    node.run("systemctl", "mask", "--runtime", UNIT)
    try:
        installer = node.start_installer(["--runtime=containerd", "--no-daemon"], variables)
        wait_for(lambda: "undoing" in installer.stderr or not installer.running(), "the undo", 30)
        node.run("systemctl", "unmask", "--runtime", UNIT)
        code = installer.wait()
    finally:
        node.run("systemctl", "unmask", "--runtime", UNIT)
        node.run("systemctl", "reset-failed", UNIT)
        node.run("systemctl", "start", UNIT)
        wait_for(node.cri.ready, "the node's containerd", 60)
    assert code in (ExitCode.FAILED, ExitCode.NOT_RESTORED), installer.stderr
    assert "Traceback" not in installer.stderr
    if code == ExitCode.NOT_RESTORED:
        again = node.start_installer(["revert"], variables)
        assert again.wait() == 0, again.stderr
    assert snapshot(node.root / "etc/containerd", node.root / "usr/local") == before
    assert node.cri.served() == served
