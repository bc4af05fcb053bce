"""For tests of the management CDI spec: a host with a driver, and setups of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from testbed.payload_host import FIRST, PayloadHost
from toolkit.errors import InterruptedBySignalError
from toolkit.host.clock import UninterruptedClock
from toolkit.host.paths import HostRoot
from toolkit.payload.records import PayloadRecord

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


def host_without_driver(base: Path) -> PayloadHost:
    """Return a host whose kernel has no driver, whatever this machine's has."""
    made = PayloadHost(base)
    (base / "proc").mkdir()
    made.root = HostRoot(root=made.root.root, proc=str(base / "proc"))
    return made


def load_driver(host: PayloadHost, root: str = "run/nvidia/driver") -> None:
    """Let the host have a driver, with its files below ``root``."""
    library = host.tree / root / "usr/lib64/libcuda.so.1"
    library.parent.mkdir(parents=True, exist_ok=True)
    library.touch()
    Path(host.root.proc, "driver/nvidia").mkdir(parents=True, exist_ok=True)


def spec_of(host: PayloadHost, directory: str = "var/run/cdi", name: str = SPEC) -> Path:
    """Return where this process sees a spec."""
    return host.tree / directory / name


def begun(host: PayloadHost, *flags: str, release: str = FIRST) -> PayloadRecord:
    """Set up as far as the engine would be asked, and stop there."""
    installer = host.installer(*flags, release=release)
    plan = installer.plan(host.low_level)
    record = installer.intent(plan)
    installer.stage(plan, UninterruptedClock())
    installer.swap(record)
    installer.cdi.apply(WaitingClock())
    return record


def install(host: PayloadHost, *flags: str, release: str = FIRST) -> PayloadRecord:
    """Set up to the end."""
    record = begun(host, *flags, release=release)
    host.installer(*flags, release=release).commit(record)
    return record
