"""The management CDI spec, made by the sample payload's ``nvidia-ctk``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.payload_host import FIRST, SECOND, PayloadHost, snapshot
from toolkit.errors import InterruptedBySignalError, PayloadError
from toolkit.host.clock import UninterruptedClock
from toolkit.host.paths import HostRoot
from toolkit.payload.installer import PayloadRecord

ON = "--cdi-enabled=true"
SPEC = "management.nvidia.com-gpu.yaml"


@dataclass(slots=True)
class WaitingClock:
    """Does not wait; does something at each wait, and ends at the tenth."""

    at_wait: Callable[[], None] = lambda: None
    waits: list[float] = field(default_factory=list)

    def now(self) -> float:
        return sum(self.waits)

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        if len(self.waits) >= 10:
            raise InterruptedBySignalError("SIGTERM")
        self.at_wait()

    def check(self) -> None:
        """No signal."""


@pytest.fixture
def host(tmp_path: Path) -> PayloadHost:
    made = PayloadHost(tmp_path)
    (tmp_path / "proc").mkdir()
    made.root = HostRoot(root=made.root.root, proc=str(tmp_path / "proc"))
    return made


@pytest.fixture
def host_with_driver(host: PayloadHost) -> PayloadHost:
    load_driver(host)
    return host


def load_driver(host: PayloadHost, root: str = "run/nvidia/driver") -> None:
    library = host.tree / root / "usr/lib64/libcuda.so.1"
    library.parent.mkdir(parents=True, exist_ok=True)
    library.touch()
    Path(host.root.proc, "driver/nvidia").mkdir(parents=True, exist_ok=True)


def spec_of(host: PayloadHost, directory: str = "var/run/cdi", name: str = SPEC) -> Path:
    return host.tree / directory / name


def install(host: PayloadHost, *flags: str, release: str = FIRST) -> PayloadRecord:
    installer = host.installer(*flags, release=release)
    plan = installer.plan(host.low_level)
    record = installer.intent(plan)
    installer.stage(plan, UninterruptedClock())
    installer.swap(record)
    installer.write_cdi(WaitingClock())
    installer.commit(record)
    return record


def test_the_spec_names_paths_as_the_host_has_them(host_with_driver: PayloadHost) -> None:
    install(host_with_driver, ON)
    spec = yaml.safe_load(spec_of(host_with_driver).read_text())
    assert spec["kind"] == "management.nvidia.com/gpu"
    (device,) = spec["devices"]
    (node,) = device["containerEdits"]["deviceNodes"]
    assert node["hostPath"] == "/run/nvidia/driver/dev/nvidiactl"
    (mount,) = spec["containerEdits"]["mounts"]
    assert mount["hostPath"] == "/run/nvidia/driver/lib/libcuda.so.1"
    (hook,) = spec["containerEdits"]["hooks"]
    assert hook["path"] == "/usr/local/nvidia/toolkit/nvidia-cdi-hook"


def test_devices_that_lie_elsewhere_are_moved_on_their_own(host_with_driver: PayloadHost) -> None:
    install(host_with_driver, ON, "--dev-root=/", "--dev-root-ctr-path=/")
    spec = yaml.safe_load(spec_of(host_with_driver).read_text())
    (node,) = spec["devices"][0]["containerEdits"]["deviceNodes"]
    assert node["hostPath"] == "/dev/nvidiactl"
    assert spec["containerEdits"]["mounts"][0]["hostPath"] == (
        "/run/nvidia/driver/lib/libcuda.so.1"
    )


def test_a_driver_on_the_host_itself_is_described(host: PayloadHost) -> None:
    load_driver(host, ".")
    install(host, ON, "--driver-root=/", f"--driver-root-ctr-path={host.tree}")
    spec = yaml.safe_load(spec_of(host).read_text())
    assert spec["containerEdits"]["mounts"][0]["hostPath"] == "/lib/libcuda.so.1"


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
    assert installer.write_cdi(clock) == f"/var/run/cdi/{SPEC}"
    assert len(clock.waits) == 3
    assert capsys.readouterr().err.count("waiting for the NVIDIA driver") == 1


def test_waiting_for_a_driver_ends_with_a_signal(host: PayloadHost) -> None:
    host.install()
    with pytest.raises(InterruptedBySignalError):
        host.installer(ON).write_cdi(WaitingClock())


def test_removal_takes_the_spec_and_the_directories_that_were_made(
    host_with_driver: PayloadHost,
) -> None:
    record = install(host_with_driver, ON)
    host_with_driver.installer(ON).remove(record)
    assert not (host_with_driver.tree / "var").exists()


def test_a_spec_that_was_there_before_comes_back(host_with_driver: PayloadHost) -> None:
    spec = spec_of(host_with_driver)
    spec.parent.mkdir(parents=True)
    spec.write_text("kind: of somebody else\n")
    record = install(host_with_driver, ON)
    install(host_with_driver, ON, "--driver-root=/other", release=SECOND)
    assert "of somebody else" not in spec.read_text()
    host_with_driver.installer(ON).remove(record)
    assert spec.read_text() == "kind: of somebody else\n"


def test_a_spec_that_somebody_changed_stays(host_with_driver: PayloadHost) -> None:
    record = install(host_with_driver, ON)
    spec_of(host_with_driver).write_text("kind: mine now\n")
    host_with_driver.installer(ON).remove(record)
    assert spec_of(host_with_driver).read_text() == "kind: mine now\n"


def test_an_undone_set_up_leaves_the_spec_of_the_one_before(host_with_driver: PayloadHost) -> None:
    host = host_with_driver
    install(host, ON)
    before = snapshot(host.tree)
    flags = (ON, "--driver-root=/other")
    installer = host.installer(*flags, release=SECOND)
    plan = installer.plan(host.low_level)
    record = installer.intent(plan)
    installer.stage(plan, UninterruptedClock())
    installer.swap(record)
    installer.write_cdi(WaitingClock())
    assert "/other/" in spec_of(host).read_text()
    for _ in range(2):
        host.installer(*flags, release=SECOND).undo(record)
        state = "usr/local/nvidia/.toolkit-journal/cdi.json"
        assert before.keys() == snapshot(host.tree).keys()
        assert {**before, state: ()} == {**snapshot(host.tree), state: ()}


def test_an_undone_first_set_up_leaves_no_spec(host_with_driver: PayloadHost) -> None:
    host = host_with_driver
    installer = host.installer(ON)
    plan = installer.plan(host.low_level)
    record = installer.intent(plan)
    installer.stage(plan, UninterruptedClock())
    installer.swap(record)
    installer.write_cdi(WaitingClock())
    host.installer(ON).undo(record)
    assert not (host.tree / "var").exists()
    assert not host.toolkit.exists()


def test_a_spec_that_is_not_wanted_any_more_goes_at_the_commit(
    host_with_driver: PayloadHost,
) -> None:
    install(host_with_driver, ON)
    install(host_with_driver)
    assert not spec_of(host_with_driver).exists()


def test_the_same_spec_is_not_written_twice(host_with_driver: PayloadHost) -> None:
    install(host_with_driver, ON)
    before = spec_of(host_with_driver).lstat()
    install(host_with_driver, ON)
    assert before == spec_of(host_with_driver).lstat()
