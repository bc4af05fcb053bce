"""A node whose driver is not loaded, with ``--require-driver``."""

from __future__ import annotations

import grpc
import pytest

from testbed.containerd import RealContainerd
from tests.engine.resident import installer_of

pytestmark = pytest.mark.engine


def test_a_container_that_asks_for_gpus_fails_with_the_reason_and_others_run(
    containerd: RealContainerd,
) -> None:
    containerd.start()
    containerd.import_image()
    installer = installer_of(containerd, TOOLKIT_REQUIRE_DRIVER="true")
    assert installer.run("--no-daemon").returncode == 0
    containerd.wait_ready()
    assert containerd.cri.run_to_end("nvidia", ("/bin/echo", "no GPU")) == "no GPU"
    with pytest.raises(grpc.RpcError, match="the NVIDIA driver is not loaded on this node"):
        containerd.cri.run_pod("nvidia", environment={"NVIDIA_VISIBLE_DEVICES": "all"})
