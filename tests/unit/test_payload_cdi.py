"""The management CDI spec as the sample payload's ``nvidia-ctk`` describes the driver."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from testbed.payload_host import PayloadHost
from tests.cdi_host import (
    ON,
    SPEC,
    WaitingClock,
    host_without_driver,
    install,
    load_driver,
    spec_of,
)
from toolkit.errors import InterruptedBySignalError, PayloadError


@pytest.fixture
def host(tmp_path: Path) -> PayloadHost:
    return host_without_driver(tmp_path)


@pytest.fixture
def host_with_driver(host: PayloadHost) -> PayloadHost:
    load_driver(host)
    return host


def test_the_spec_names_paths_as_the_host_has_them(host_with_driver: PayloadHost) -> None:
    install(host_with_driver, ON)
    spec = yaml.safe_load(spec_of(host_with_driver).read_text())
    assert spec["kind"] == "management.nvidia.com/gpu"
    (device,) = spec["devices"]
    (node,) = device["containerEdits"]["deviceNodes"]
    assert node["hostPath"] == "/run/nvidia/driver/dev/nvidiactl"
    (mount,) = spec["containerEdits"]["mounts"]
    assert mount["hostPath"] == "/run/nvidia/driver/usr/lib64/libcuda.so.1"
    (hook,) = spec["containerEdits"]["hooks"]
    assert hook["path"] == "/usr/local/nvidia/toolkit/nvidia-cdi-hook"


def test_devices_that_lie_elsewhere_are_moved_on_their_own(host_with_driver: PayloadHost) -> None:
    install(host_with_driver, ON, "--dev-root=/", "--dev-root-ctr-path=/")
    spec = yaml.safe_load(spec_of(host_with_driver).read_text())
    (node,) = spec["devices"][0]["containerEdits"]["deviceNodes"]
    assert node["hostPath"] == "/dev/nvidiactl"
    assert spec["containerEdits"]["mounts"][0]["hostPath"] == (
        "/run/nvidia/driver/usr/lib64/libcuda.so.1"
    )


def test_a_driver_on_the_host_itself_is_described(host: PayloadHost) -> None:
    load_driver(host, ".")
    install(host, ON, "--driver-root=/", f"--driver-root-ctr-path={host.tree}")
    spec = yaml.safe_load(spec_of(host).read_text())
    assert spec["containerEdits"]["mounts"][0]["hostPath"] == "/usr/lib64/libcuda.so.1"


def test_kind_and_directory_are_those_of_the_options(host_with_driver: PayloadHost) -> None:
    install(host_with_driver, ON, "--cdi-kind=example.com/x", "--cdi-output-dir=/etc/cdi")
    spec = yaml.safe_load(spec_of(host_with_driver, "etc/cdi", "example.com-x.yaml").read_text())
    assert spec["kind"] == "example.com/x"


@pytest.mark.parametrize("flags", [(), (ON, "--cdi-output-dir=")])
def test_nothing_is_made_where_it_is_not_wanted(
    host_with_driver: PayloadHost, flags: tuple[str, ...]
) -> None:
    install(host_with_driver, *flags)
    assert not (host_with_driver.tree / "var").exists()
    assert not (host_with_driver.tree / "run/nvidia/driver/dev").exists()


def test_device_nodes_are_only_made_where_they_are_wanted(host_with_driver: PayloadHost) -> None:
    with pytest.raises(PayloadError, match="no NVIDIA device nodes found"):
        install(host_with_driver, ON, "--create-device-nodes=none")
    assert not (host_with_driver.tree / "run/nvidia/driver/dev").exists()


def test_a_driver_that_is_not_there_yet_is_waited_for(
    host: PayloadHost, capsys: pytest.CaptureFixture[str]
) -> None:
    installer = host.installer(ON)
    host.install()
    clock = WaitingClock(at_wait=lambda: load_driver(host) if len(clock.waits) == 3 else None)
    installer.cdi.apply(clock)
    assert spec_of(host).exists()
    assert installer.cdi.path() == f"/var/run/cdi/{SPEC}"
    assert len(clock.waits) == 3
    assert capsys.readouterr().err.count("waiting for the NVIDIA driver") == 1


def test_waiting_for_a_driver_ends_with_a_signal(host: PayloadHost) -> None:
    host.install()
    with pytest.raises(InterruptedBySignalError):
        host.installer(ON).cdi.apply(WaitingClock())


def test_a_reason_to_wait_for_the_driver_is_said_once_however_often_it_comes_back(
    host: PayloadHost, capsys: pytest.CaptureFixture[str]
) -> None:
    host.install()
    driver = host.tree / "run/nvidia/driver"
    driver.parent.mkdir(parents=True)
    clock = WaitingClock(at_wait=lambda: driver.rmdir() if driver.exists() else driver.mkdir())
    with pytest.raises(InterruptedBySignalError):
        host.installer(ON).cdi.apply(clock)
    said = capsys.readouterr().err
    assert said.count("there is nothing at the driver root") == 1
    assert said.count("no driver is loaded") == 1


def test_without_a_daemon_nobody_waits_for_a_driver(host: PayloadHost) -> None:
    host.install()
    clock = WaitingClock()
    with pytest.raises(PayloadError, match=r"needs the NVIDIA driver: .*without --no-daemon"):
        host.installer(ON, "--no-daemon").cdi.apply(clock)
    assert clock.waits == []


def test_without_a_daemon_a_driver_that_is_there_is_described(
    host_with_driver: PayloadHost,
) -> None:
    install(host_with_driver, ON, "--no-daemon")
    assert spec_of(host_with_driver).exists()
