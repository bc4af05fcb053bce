"""The kernel, with an error or the end of the process put before the N-th effective call."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from toolkit.host.syscalls import Syscalls


class CrashPoint(BaseException):
    """The process ends here: no cleaning up of an ``except OSError`` runs."""


@dataclass(slots=True)
class FaultySyscalls(Syscalls):
    """``fault``, an errno or a crash, comes before the call ``at``."""

    at: int | None = None
    fault: int | type[CrashPoint] = CrashPoint
    unsupported: dict[str, int] = field(default_factory=dict)
    """Calls that always fail with this errno, for file systems and kernels that lack them."""
    short_writes: int | None = None
    """The most bytes that one write takes; a fault then comes in the middle of a file."""
    done: list[str] = field(default_factory=list)
    """The calls so far, by name."""
    real: Syscalls = field(default_factory=Syscalls)

    def _step(self, name: str) -> None:
        if name in self.unsupported:
            number = self.unsupported[name]
            raise OSError(number, os.strerror(number))
        if len(self.done) == self.at:
            self.done.append(f"{name} (fault)")
            if isinstance(self.fault, int):
                raise OSError(self.fault, os.strerror(self.fault))
            raise self.fault
        self.done.append(name)

    def open_unnamed(self, directory: str) -> int:
        self._step("open_unnamed")
        return self.real.open_unnamed(directory)

    def open_new(self, path: str) -> int:
        self._step("open_new")
        return self.real.open_new(path)

    def open_existing(self, path: str) -> int:
        self._step("open_existing")
        return self.real.open_existing(path)

    def open_to_append(self, path: str) -> int:
        self._step("open_to_append")
        return self.real.open_to_append(path)

    def write(self, descriptor: int, content: bytes) -> int:
        self._step("write")
        return self.real.write(descriptor, content[: self.short_writes])

    def reserve(self, descriptor: int, length: int) -> None:
        self._step("reserve")
        self.real.reserve(descriptor, length)

    def truncate(self, descriptor: int, length: int) -> None:
        self._step("truncate")
        self.real.truncate(descriptor, length)

    def chown(self, descriptor: int, uid: int, gid: int) -> None:
        self._step("chown")
        self.real.chown(descriptor, uid, gid)

    def chmod(self, descriptor: int, mode: int) -> None:
        self._step("chmod")
        self.real.chmod(descriptor, mode)

    def setxattr(self, descriptor: int, name: str, value: bytes) -> None:
        self._step("setxattr")
        self.real.setxattr(descriptor, name, value)

    def removexattr(self, descriptor: int, name: str) -> None:
        self._step("removexattr")
        self.real.removexattr(descriptor, name)

    def await_writers(self, descriptor: int) -> None:
        self._step("await_writers")
        self.real.await_writers(descriptor)

    def sync(self, descriptor: int) -> None:
        self._step("sync")
        self.real.sync(descriptor)

    def sync_directory(self, path: str) -> None:
        self._step("sync_directory")
        self.real.sync_directory(path)

    def link_unnamed(self, descriptor: int, path: str) -> None:
        self._step("link_unnamed")
        self.real.link_unnamed(descriptor, path)

    def rename(self, source: str, target: str) -> None:
        self._step("rename")
        self.real.rename(source, target)

    def exchange(self, first: str, second: str) -> None:
        self._step("exchange")
        self.real.exchange(first, second)

    def unlink(self, path: str) -> None:
        self._step("unlink")
        self.real.unlink(path)

    def symlink(self, target: str, path: str) -> None:
        self._step("symlink")
        self.real.symlink(target, path)

    def mkdir(self, path: str, mode: int) -> None:
        self._step("mkdir")
        self.real.mkdir(path, mode)

    def rmdir(self, path: str) -> None:
        self._step("rmdir")
        self.real.rmdir(path)
