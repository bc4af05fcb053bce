"""NRI mode by the whole program: files and a spec are installed, no engine config is touched."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.containerd import RELEASES, RealContainerd, real_containerd
from testbed.program import Installer, snapshot
from testbed.sample_payload import WITH_DRIVER
from testbed.supervised import wait_for
from tests.rights import with_rights

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


def test_the_plugin_and_its_files_need_no_capability(
    containerd: RealContainerd, installer: Installer
) -> None:
    pid = containerd.process.pid
    installer.prefix = (*WITH_DRIVER, *with_rights())
    installer.start()
    installer.wait_ready()
    assert installer.stop() == 0, installer.log()
    assert containerd.process.pid == pid
    assert not installer.install_dir.exists()


def test_a_removed_payload_file_comes_back_and_the_plugin_is_registered_again(
    containerd: RealContainerd, installer: Installer
) -> None:
    installer.start()
    installer.wait_ready()
    hook = Path(installer.install_dir, "toolkit/nvidia-cdi-hook")
    hook.unlink()
    wait_for(hook.exists, "the hook to be back")
    wait_for(installer.ready_file.exists, "the plugin to be registered again")
    assert "drift" not in containerd.process.log()
    assert installer.stop() == 0, installer.log()


def test_the_plugin_is_not_ready_while_no_right_spec_can_be_made(
    containerd: RealContainerd, installer: Installer
) -> None:
    libraries = containerd.directory / "driver/usr/lib/x86_64-linux-gnu"
    spec = containerd.directory / "cdi" / SPEC
    installer.start()
    installer.wait_ready()
    before = spec.read_bytes()
    (libraries / "libnvidia-ml.so.1").symlink_to("libnvidia-ml.so.550")
    (libraries / "libcuda.so.1").unlink()
    wait_for(lambda: "not ready: no right CDI spec" in installer.log(), "the reason")
    wait_for(
        lambda: installer.log().count("registered with the engine") >= 2, "the plugin's return"
    )
    assert not spec.exists()
    assert not installer.ready_file.exists(), "the engine has it, but its devices name nothing"
    (libraries / "libnvidia-ml.so.1").unlink()
    (libraries / "libcuda.so.1").touch()
    wait_for(installer.ready_file.exists, "the plugin to be ready")
    assert spec.read_bytes() == before
    assert installer.stop() == 0, installer.log()


def test_verify_says_whether_the_plugin_is_connected(
    containerd: RealContainerd, installer: Installer
) -> None:
    before = installer.run("verify")
    assert before.returncode == 1
    assert before.stdout == (
        "missing: no NRI plugin of this installer is connected to"
        f" {containerd.directory}/nri.sock\n"
    )
    process = installer.start()
    installer.wait_ready()
    connected = installer.run("verify")
    assert (connected.returncode, connected.stdout) == (
        0,
        f"NRI plugin connected, PID {process.pid}\n",
    )
    assert installer.stop() == 0, installer.log()
    assert installer.run("verify").returncode == 1


def test_doctor_names_the_line_that_keeps_plugins_away(
    containerd: RealContainerd, installer: Installer
) -> None:
    # The host root is the engine's directory: there its config is the usual one.
    root = containerd.directory / "host"
    (root / "etc/containerd").mkdir(parents=True)
    (root / "usr").mkdir()
    text = containerd.config.read_text().replace(
        "disable =", "disable_connections = true\ndisable ="
    )
    containerd.config.write_text(text)
    (root / "etc/containerd/config.toml").write_text(text)
    containerd.stop()
    (containerd.directory / "nri.sock").unlink(missing_ok=True)
    containerd.start()
    installer.variables = {**installer.variables, "HOST_ROOT_MOUNT": str(root)}
    done = installer.run("doctor", "--output=json")
    (found,) = [each for each in json.loads(done.stdout)["findings"] if each["check"] == "NRI"]
    assert found["verdict"] == "problem"
    assert found["message"].endswith(
        "nri.sock: /etc/containerd/config.toml has disable_connections = true"
    )
    assert found["fix"] == "change that line and restart the engine"


def test_doctor_connects_to_the_plugin_socket_and_keeps_no_plugin_waiting(
    containerd: RealContainerd, installer: Installer
) -> None:
    (containerd.directory / "cdi").mkdir()
    examined = [installer.run("doctor") for _ in range(3)]
    assert [each.returncode for each in examined] == [0, 0, 0], examined[0].stdout
    assert f"ok       NRI: {containerd.directory}/nri.sock takes connections" in examined[0].stdout
    assert "restart:" not in examined[0].stdout
    installer.start()
    installer.wait_ready()
    assert installer.stop() == 0, installer.log()
    containerd.process.kill(signal.SIGSTOP)
    try:
        stopped = installer.run("doctor")
    finally:
        containerd.process.kill(signal.SIGCONT)
    assert "Traceback" not in stopped.stderr
