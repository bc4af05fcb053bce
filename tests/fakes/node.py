"""A node that is made of records: processes, signals, commands and services without effect."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from toolkit.errors import EngineNotFoundError, EngineTimeoutError
from toolkit.host.commands import CommandResult
from toolkit.host.processes import Handle, ProcessFacts, ProcessTable


def process(
    pid: int,
    executable: str | None,
    *arguments: str,
    parent: int = 1,
    name: str = "",
    cgroup: str = "0::/\n",
    start_time: int = 0,
    on_host: bool | None = True,
) -> ProcessFacts:
    """Return a process whose start time is a hundred times its PID unless it is given."""
    return ProcessFacts(
        pid=pid,
        start_time=start_time or pid * 100,
        parent_pid=parent,
        name=name or (executable or "").rpartition("/")[2][:15],
        executable=executable,
        arguments=arguments,
        cgroup=cgroup,
        on_host=on_host,
    )


SYSTEMD = process(1, "/usr/lib/systemd/systemd", "/sbin/init", parent=0, name="systemd")


class FakeTable(ProcessTable):
    """A table of these processes."""

    def __init__(self, *processes: ProcessFacts) -> None:
        self.processes = {each.pid: each for each in processes}

    def find(self, pid: int) -> ProcessFacts | None:
        """Return the process, or None where there is none."""
        return self.processes.get(pid)

    def all(self) -> Iterator[ProcessFacts]:
        """Every process that can be seen."""
        yield from self.processes.values()

    def named(self, prefixes: tuple[str, ...]) -> Iterator[ProcessFacts]:
        """Every process whose name (comm) begins with one of these."""
        yield from (each for each in self.all() if each.name.startswith(prefixes))


@dataclass
class FakeHandle(Handle):
    """A process to which nothing is sent."""

    acts: list[str]
    pid: int
    dies: bool
    on_signal: Callable[[], None]

    def signal(self, number: signal.Signals) -> None:
        """Record the signal."""
        self.acts.append(f"{number.name} to {self.pid}")
        self.on_signal()

    def wait_gone(self, seconds: float) -> bool:
        """Say whether it ended."""
        self.acts.append("gone" if self.dies else f"still there after {seconds:.0f} s")
        return self.dies

    def close(self) -> None:
        """Let go of it."""


@dataclass
class FakeSignaller:
    """Fulfils ``Signaller``."""

    acts: list[str] = field(default_factory=list)
    dies: bool = True
    missing: bool = False
    on_signal: Callable[[], None] = lambda: None

    def hold(self, pid: int, start_time: int) -> FakeHandle:
        """Take hold of a process."""
        if self.missing:
            raise EngineNotFoundError(f"process {pid} started at {start_time} is gone")
        return FakeHandle(self.acts, pid, self.dies, self.on_signal)


@dataclass
class FakeServices:
    """Fulfils ``Services``."""

    acts: list[str] = field(default_factory=list)
    refuses: str = ""
    lacks: str = ""
    """Why the unit would not be started."""
    on_start: Callable[[], None] = lambda: None

    def require(self, unit: str, seconds: float) -> None:
        """Raise where it was told to."""
        del seconds
        if self.lacks:
            raise EngineNotFoundError(f"{unit} {self.lacks}")

    def prepare(self, unit: str, seconds: float) -> None:
        """Record it."""
        del seconds
        self.acts.append(f"reset-failed {unit}")

    def restart(self, unit: str, seconds: float) -> None:
        """Record it."""
        del seconds
        self._act("restart", unit)

    def start(self, unit: str, seconds: float) -> None:
        """Record it."""
        del seconds
        self._act("start", unit)

    def _act(self, verb: str, unit: str) -> None:
        self.acts.append(f"{verb} {unit}")
        if self.refuses:
            raise EngineTimeoutError(self.refuses)
        self.on_start()


@dataclass
class FakeCommands:
    """Fulfils ``Commands``: answers by the program's last word, else status 127."""

    answers: dict[str, CommandResult] = field(default_factory=dict)
    ran: list[tuple[str, ...]] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)
    """The seconds that each of them was given."""

    def run(self, arguments: tuple[str, ...], seconds: float) -> CommandResult:
        """Answer at once."""
        self.ran.append(arguments)
        self.limits.append(seconds)
        missing = CommandResult(status=127, output=b"", errors="not found")
        return self.answers.get(arguments[-1], missing)


@dataclass
class FakeClock:
    """Fulfils ``Clock``: time passes when somebody sleeps."""

    time: float = 0.0
    checked: int = 0

    def now(self) -> float:
        """Seconds since the test began."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.time += max(seconds, 0.0001)

    def check(self) -> None:
        """A safe point."""
        self.checked += 1


class FakeView:
    """Fulfils ``HostView``."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = files or {}

    def read(self, path: str) -> bytes | None:
        """Return the file's bytes, or None where there is no file."""
        return self.files.get(path)

    def glob(self, pattern: str) -> tuple[str, ...]:
        """Return the file of that very name."""
        return (pattern,) if pattern in self.files else ()

    def is_directory(self, _path: str) -> bool:
        """Know of none."""
        return False
