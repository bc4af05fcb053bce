"""The CDI spec of a daemon that stays follows the driver, without a word to the engine."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
import yaml

from testbed.containerd import RELEASES, RealContainerd
from testbed.driver_root import LIBRARIES, DriverRoot
from testbed.program import Installer
from testbed.supervised import wait_for
from tests.engine.resident import installer_of, memory_of, wait_idle, wait_said

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(1200),
    pytest.mark.parametrize(
        "containerd_release", [each for each in RELEASES if each.series.startswith("2.")]
    ),
]

DEVICE = "management.nvidia.com/gpu=all"
LOOK = 0.05
MOST_LOOKS = 40
"""In a row, 2 s of them, at which a node may be ready beside a spec that names what is gone."""
MOST_RESIDENT = 9728
"""KiB: 9.5 MB."""
OLD, NEW = "535.104.05", "550.54.14"


class Looker(threading.Thread):
    """Looks all the time whether the node is ready beside a spec that names what is not there."""

    def __init__(self, installer: Installer, spec: Path) -> None:
        super().__init__()
        self._installer, self._spec = installer, spec
        self._ended = threading.Event()
        self._read: tuple[object, tuple[str, ...]] = (None, ())
        self.worst = 0
        self.missing: set[str] = set()

    def run(self) -> None:
        in_a_row = 0
        while not self._ended.wait(LOOK):
            gone = [each for each in self._named() if not Path(each).exists()]
            in_a_row = in_a_row + 1 if gone and self._installer.ready_file.exists() else 0
            if in_a_row > self.worst:
                self.worst, self.missing = in_a_row, set(gone)

    def end(self) -> None:
        self._ended.set()
        self.join()
        assert self.worst <= MOST_LOOKS, self.missing

    def _named(self) -> tuple[str, ...]:
        try:
            stamp = self._spec.stat().st_ino, self._spec.stat().st_mtime_ns
            if stamp != self._read[0]:
                self._read = (stamp, named_in(self._spec))
        except FileNotFoundError:
            return ()
        return self._read[1]


def named_in(spec: Path) -> tuple[str, ...]:
    document = yaml.safe_load(spec.read_text())
    edits = [document["containerEdits"], *(d["containerEdits"] for d in document["devices"])]
    return tuple(
        each.get("hostPath") or each["path"]
        for edit in edits
        for key in ("deviceNodes", "mounts", "hooks")
        for each in edit.get(key) or ()
    )


@pytest.fixture
def driver(containerd: RealContainerd) -> DriverRoot:
    return DriverRoot.made(containerd.directory)


@pytest.fixture
def spec(containerd: RealContainerd) -> Path:
    return containerd.directory / "cdi/management.nvidia.com-gpu.yaml"


@pytest.fixture
def installer(containerd: RealContainerd, driver: DriverRoot) -> Iterator[Installer]:
    containerd.config.write_text(
        f"""version = 3
[plugins.'io.containerd.cri.v1.runtime']
  enable_cdi = true
  cdi_spec_dirs = ["{containerd.directory}/cdi"]
"""
    )
    containerd.start()
    program = installer_of(
        containerd,
        CDI_ENABLED="true",
        CDI_OUTPUT_DIR=str(containerd.directory / "cdi"),
        **driver.variables(),
    )
    program.prefix = driver.prefix
    program.start()
    wait_idle(program)
    yield program
    program.end()


@pytest.fixture
def looker(installer: Installer, spec: Path) -> Iterator[Looker]:
    thread = Looker(installer, spec)
    thread.start()
    yield thread
    thread.end()


def names(spec: Path, *parts: str) -> bool:
    """Tell whether a spec names something with each of these in its path."""
    if not spec.exists():
        return False
    named = named_in(spec)
    return all(any(part in each for each in named) for part in parts)


def wait_right(installer: Installer, right: Callable[[], bool]) -> None:
    """Wait until the node is ready with the right spec."""
    try:
        wait_for(lambda: right() and installer.ready_file.exists(), "the right spec", 60)
    except TimeoutError as error:
        raise TimeoutError(f"{error}\n{installer.log()[-4000:]}") from None


@pytest.mark.usefixtures("looker")
def test_an_upgrade_and_the_way_back_are_followed_and_containers_run_before_and_after(
    containerd: RealContainerd, installer: Installer, driver: DriverRoot, spec: Path
) -> None:
    containerd.import_image()
    pid = containerd.process.pid
    config = containerd.config.read_bytes()
    look = ("/bin/sh", "-c", "ls /dev /usr/lib64")

    def seen() -> list[str]:
        return containerd.cri.run_to_end("runc", look, cdi_devices=(DEVICE,)).split()

    assert {"nvidiactl", "nvidia0", "libcuda.so.1"} <= set(seen())
    for version in (NEW, OLD):
        driver.install(version)
        driver.load(version)
        wait_right(installer, lambda version=version: names(spec, f"libcuda.so.{version}"))  # type: ignore[misc]
        assert {"nvidiactl", "nvidia0", "libcuda.so.1"} <= set(seen())
    assert containerd.process.pid == pid
    assert containerd.config.read_bytes() == config
    assert installer.stop() == 0, installer.log()
    assert not spec.exists()


@pytest.mark.usefixtures("looker")
def test_a_driver_that_is_unloaded_takes_spec_and_ready_file_along_and_brings_both_back(
    containerd: RealContainerd, installer: Installer, driver: DriverRoot, spec: Path
) -> None:
    containerd.import_image()
    pid = containerd.process.pid
    before = spec.read_bytes()
    for _ in range(2):
        driver.unload()
        wait_for(lambda: not spec.exists() and not installer.ready_file.exists(), "both to go")
        with pytest.raises(grpc.RpcError, match="CDI device"):
            containerd.cri.run_pod("runc", cdi_devices=(DEVICE,))
        driver.load(OLD)
        wait_right(installer, spec.exists)
        assert spec.read_bytes() == before
    assert containerd.process.pid == pid
    assert installer.log().count("no driver is loaded") == 2, "once each time"
    assert installer.stop() == 0, installer.log()


@pytest.mark.usefixtures("looker")
def test_gpus_and_instances_that_come_and_go_and_another_major_number_are_followed(
    installer: Installer, driver: DriverRoot, spec: Path
) -> None:
    driver.node("nvidia1", 1)
    wait_right(installer, lambda: names(spec, "/nvidia1"))
    driver.mig(on=True)
    wait_right(installer, lambda: names(spec, "nvidia-cap1", "nvidia-cap2"))
    driver.mig(on=False)
    wait_right(installer, lambda: not names(spec, "nvidia-cap"))
    driver.remove_node("nvidia1")
    wait_right(installer, lambda: not names(spec, "/nvidia1"))
    driver.node("nvidia0", 0, major=511)
    wait_said(installer, "followed the driver", 5)
    wait_right(installer, lambda: names(spec, "/nvidia0"))


@contextmanager
def read_only(directory: Path, pid: str) -> Iterator[None]:
    """Refuse a process's writes below a directory; all that is there stays as it is."""

    def run(*command: str) -> None:
        subprocess.run(["nsenter", "--mount", "--target", pid, *command], check=True)  # noqa: S607

    run("mount", "--bind", str(directory), str(directory))
    run("mount", "-o", "remount,bind,ro", str(directory))
    try:
        yield
    finally:
        run("umount", "--lazy", str(directory))


def test_a_node_that_cannot_be_marked_ready_is_tried_again(
    installer: Installer, driver: DriverRoot, spec: Path
) -> None:
    with read_only(installer.ready_file.parent, installer.pid_file.read_text().strip()):
        driver.node("nvidia1", 1)
        wait_said(installer, "Read-only file system")
        wait_for(lambda: names(spec, "/nvidia1"), "the new spec")
        wait_said(installer, "again_in_seconds=")
    wait_right(installer, lambda: names(spec, "/nvidia1"))


@pytest.mark.usefixtures("looker")
def test_a_half_written_upgrade_ends_in_the_right_spec(
    installer: Installer, driver: DriverRoot, spec: Path
) -> None:
    for library in LIBRARIES:
        driver.exchange(library, NEW)
        time.sleep(3 / len(LIBRARIES))
    driver.load(NEW)
    wait_right(installer, lambda: names(spec, *(f"{each}.so.{NEW}" for each in LIBRARIES)))


@pytest.mark.usefixtures("looker")
def test_while_the_driver_cant_be_described_a_spec_that_is_right_stays_and_another_goes(
    installer: Installer, driver: DriverRoot, spec: Path
) -> None:
    before = spec.read_bytes()
    dangling = driver.libraries / "libnvidia-fbc.so.1"
    dangling.symlink_to("libnvidia-fbc.so.0")
    wait_said(installer, "failed to locate")
    wait_right(installer, lambda: spec.read_bytes() == before)
    driver.exchange("libcuda", NEW)
    wait_for(lambda: not spec.exists() and not installer.ready_file.exists(), "both to go")
    assert installer.log().count("failed to locate") == 1, "it is said once"
    dangling.unlink()
    wait_right(installer, lambda: names(spec, f"libcuda.so.{NEW}"))


@pytest.mark.parametrize("changes", [30, pytest.param(1000, marks=pytest.mark.long)])
def test_at_random_changes_the_node_is_never_ready_with_a_spec_that_is_not_right(
    containerd: RealContainerd, installer: Installer, driver: DriverRoot, spec: Path, changes: int
) -> None:
    looker = Looker(installer, spec)
    looker.start()
    pid = containerd.process.pid
    chance = random.Random(changes)  # noqa: S311 - the same changes at every run
    for _ in range(changes):
        change(driver, chance)
        time.sleep(chance.choice((0.0, 0.02, 0.1, 0.3, 0.7)))
    driver.install(NEW)
    driver.load(NEW)
    driver.mig(on=True)
    wait_right(installer, lambda: names(spec, "nvidia-cap1", f"libcuda.so.{NEW}"))
    looker.end()
    wait_idle(installer)
    assert installer.process is not None
    assert memory_of(installer.process.pid).resident <= MOST_RESIDENT
    assert containerd.process.pid == pid
    assert "reloads its config" not in installer.log().partition(" ready ")[2]


def change(driver: DriverRoot, chance: random.Random) -> None:
    version = chance.choice((OLD, NEW, "570.86.15"))
    match chance.randrange(8):
        case 0:
            driver.install(version)
        case 1:
            driver.exchange(chance.choice(LIBRARIES), version)
        case 2:
            driver.load(version)
        case 3:
            driver.unload()
        case 4:
            driver.mig(on=True)
        case 5:
            driver.mig(on=False)
        case 6:
            driver.node(f"nvidia{chance.randrange(4)}", chance.randrange(4))
        case _:
            driver.remove_node(f"nvidia{chance.randrange(4)}")
