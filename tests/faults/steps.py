"""One count over every effect of a run, files and signals alike, and a fault at one of them."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.fakes.faulty_syscalls import CrashPoint, FaultySyscalls
from toolkit.errors import EngineTimeoutError, HostPathError
from toolkit.host.host_files import HostFiles
from toolkit.host.syscalls import Syscalls
from toolkit.host.writer import FileMetadata, NewEntry

ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.EBUSY)
NEEDS_SPACE = frozenset(
    {"open_unnamed", "open_new", "write", "reserve", "link_unnamed", "symlink", "mkdir", "create"}
)
ENGINE = frozenset({"facts", "signal", "signalled", "start", "verify"})
Fault = int | type[CrashPoint]
SHORT = 10
"""Points of each kind in the short form of a test."""


def points(length: int, wanted: int | None) -> Iterator[int]:
    """Yield each step's number, or so many spread over all of them."""
    if wanted is None or wanted >= length:
        yield from range(length)
    else:
        yield from sorted({round(each * (length - 1) / (wanted - 1)) for each in range(wanted)})


def crash(number: int | None = None) -> Fault:
    """Return the fault that ends the process."""
    del number
    return CrashPoint


@dataclass(slots=True)
class Steps:
    """Counts; ``fault`` comes before the step ``at``. After a crash nothing happens any more."""

    at: int | None = None
    fault: Fault = CrashPoint
    lasting: bool = False
    """A disk that stays full or read-only: every later step of its kind fails as well."""
    watch: Callable[[], None] = lambda: None
    """Called before each step: what has to hold at every moment."""
    done: list[str] = field(default_factory=list)
    dead: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, name: str, path: str = "") -> None:
        """Count one step. Raises CrashPoint, or the error as the layer would tell it."""
        with self._lock:
            if self.dead:
                raise CrashPoint
            self.watch()
            now = len(self.done)
            self.done.append(name)
            if self.at is None or now < self.at:
                return
            if now > self.at and not self._lasts(name):
                return
            if not isinstance(self.fault, int):
                self.dead = True
                raise self.fault
        if name in ENGINE:
            raise EngineTimeoutError(f"injected at {name}")
        if name in ("create", "sync_tree"):
            raise HostPathError(f"cannot {name} {path}: {os.strerror(self.fault)}")
        raise OSError(self.fault, os.strerror(self.fault))

    def _lasts(self, name: str) -> bool:
        if not self.lasting or name in ENGINE:
            return False
        return self.fault == errno.EROFS or name in NEEDS_SPACE


class WithoutWaiting(Syscalls):
    """The kernel, but for the disk: what is durable is another test's subject."""

    def sync(self, descriptor: int) -> None:
        """Trust the page cache."""

    def sync_directory(self, path: str) -> None:
        """Trust the page cache."""


class SteppedSyscalls(FaultySyscalls):
    """Each call is a step."""

    def __init__(self, steps: Steps) -> None:
        super().__init__(real=WithoutWaiting())
        self._steps = steps

    def _step(self, name: str) -> None:
        self._steps.take(name)


class SteppedFiles(HostFiles):
    """What the writer does without those calls is a step too."""

    def __init__(self, root: object, steps: Steps) -> None:
        super().__init__(root, SteppedSyscalls(steps))  # type: ignore[arg-type]
        self._steps = steps

    def create(self, path: str, content: NewEntry, metadata: FileMetadata) -> None:
        """Make a new entry in a tree that nobody reads yet."""
        self._steps.take("create", path)
        super().create(path, content, metadata)

    def sync_tree(self, path: str) -> None:
        """Trust the page cache."""
        self._steps.take("sync_tree", path)
