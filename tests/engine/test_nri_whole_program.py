"""NRI mode by the whole program: files and a spec are installed, no engine config is touched."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.containerd import RELEASES, RealContainerd, real_containerd
from tests.engine.program import Installer, snapshot
from tests.engine.supervised import wait_for
from tests.sample_payload import WITH_DRIVER

pytestmark = pytest.mark.engine
SPEC = "management.nvidia.com-gpu.yaml"


@pytest.fixture
def containerd() -> Iterator[RealContainerd]:
    with real_containerd(RELEASES[-1]) as engine:
        engine.config.write_text(
            f"""version = 3
[plugins.'io.containerd.nri.v1.nri']
  disable = false
  socket_path = "{engine.directory}/nri.sock"
  plugin_path = "{engine.directory}/nri/plugins"
  plugin_config_path = "{engine.directory}/nri/conf.d"
"""
        )
        engine.start()
        yield engine


@pytest.fixture
def installer(containerd: RealContainerd) -> Iterator[Installer]:
    driver = containerd.directory / "driver"
    (driver / "dev").mkdir(parents=True)
    (driver / "usr/lib/x86_64-linux-gnu").mkdir(parents=True)
    (driver / "usr/lib/x86_64-linux-gnu/libcuda.so.1").touch()
    (driver / "dev/nvidiactl").touch()
    program = Installer(
        containerd.directory,
        {
            "RUNTIME": "containerd",
            "ENABLE_NRI_PLUGIN": "true",
            "NRI_NAMESPACE": "gpu-operator",
            "NRI_SOCKET": str(containerd.directory / "nri.sock"),
            "NVIDIA_DRIVER_ROOT": str(driver),
            "DRIVER_ROOT_CTR_PATH": str(driver),
            "CDI_OUTPUT_DIR": str(containerd.directory / "cdi"),
            "TOOLKIT_RECONCILE_INTERVAL": "1",
        },
        prefix=WITH_DRIVER,
    )
    yield program
    program.end()


def test_the_plugin_is_ready_once_registered_and_nothing_is_left_afterwards(
    containerd: RealContainerd, installer: Installer
) -> None:
    before = snapshot(containerd.config.parent)
    pid = containerd.process.pid
    installer.start()
    installer.wait_ready()
    assert (containerd.directory / "cdi" / SPEC).exists()
    assert snapshot(containerd.config.parent) == before
    assert installer.stop() == 0, installer.log()
    assert containerd.process.pid == pid
    assert snapshot(containerd.config.parent) == before
    for path in (installer.install_dir, containerd.directory / "cdi", installer.pid_file.parent):
        assert not path.exists()


def test_a_removed_payload_file_comes_back_and_the_plugin_is_registered_again(
    containerd: RealContainerd, installer: Installer
) -> None:
    installer.start()
    installer.wait_ready()
    hook = Path(installer.install_dir, "toolkit/nvidia-cdi-hook")
    hook.unlink()
    wait_for(hook.exists, "the hook to be back", 20)
    wait_for(installer.ready_file.exists, "the plugin to be registered again", 20)
    assert "drift" not in containerd.process.log()
    assert installer.stop() == 0, installer.log()


def test_doctor_connects_to_the_plugin_socket_and_keeps_no_plugin_waiting(
    containerd: RealContainerd, installer: Installer
) -> None:
    (containerd.directory / "cdi").mkdir()
    examined = [installer.run("doctor") for _ in range(3)]
    assert [each.returncode for each in examined] == [0, 0, 0], examined[0].stdout
    assert f"ok       NRI: {containerd.directory}/nri.sock takes connections" in examined[0].stdout
    assert "restart:" not in examined[0].stdout
    began = time.monotonic()
    installer.start()
    installer.wait_ready()
    assert time.monotonic() - began < 5.0
    assert installer.stop() == 0, installer.log()
    containerd.process.kill(signal.SIGSTOP)
    try:
        stopped = installer.run("doctor")
    finally:
        containerd.process.kill(signal.SIGCONT)
    assert "Traceback" not in stopped.stderr
