"""A file writer that fails, or after which the process ends, at its N-th effective call."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field

from tests.fakes.faulty_syscalls import CrashPoint
from toolkit.errors import HostPathError
from toolkit.host.writer import FileMetadata, FileState, FileWriter, Known, NewEntry

__all__ = ["CrashPoint", "FaultyWriter"]


@dataclass(slots=True)
class FaultyWriter:
    """Fulfils ``FileWriter``; fails before the effective call ``at``, counted from 0."""

    real: FileWriter
    at: int | None = None
    fault: int | type[CrashPoint] = errno.ENOSPC
    """An errno, told as HostPathError, or the end of the process."""
    done: list[tuple[str, str]] = field(default_factory=list)
    """The effective calls so far."""

    def _step(self, name: str, path: str) -> None:
        now = len(self.done)
        self.done.append((name, path))
        if now == self.at:
            if isinstance(self.fault, int):
                raise HostPathError(f"cannot {name} {path}: {os.strerror(self.fault)}")
            raise self.fault

    def read(self, path: str) -> FileState | None:
        return self.real.read(path)

    def require_writable(self, path: str) -> None:
        """Take every file for one that can be written."""

    def write(
        self,
        path: str,
        content: bytes,
        metadata: FileMetadata | None = None,
        *,
        instead_of: Known = None,
        follow: bool = True,
    ) -> None:
        self._step("write", path)
        self.real.write(path, content, metadata, instead_of=instead_of, follow=follow)

    def remove(self, path: str, *, instead_of: Known = None, follow: bool = True) -> None:
        self._step("remove", path)
        self.real.remove(path, instead_of=instead_of, follow=follow)

    def remove_link(self, path: str) -> None:
        self._step("remove_link", path)
        self.real.remove_link(path)

    def real_path(self, path: str) -> str:
        return self.real.real_path(path)

    def missing_directories(self, path: str) -> tuple[str, ...]:
        return self.real.missing_directories(path)

    def make_directories(self, path: str, mode: int = 0o755) -> tuple[str, ...]:
        self._step("make_directories", path)
        return self.real.make_directories(path, mode)

    def remove_directory(self, path: str) -> bool:
        self._step("remove_directory", path)
        return self.real.remove_directory(path)

    def exchange(self, first: str, second: str) -> None:
        self._step("exchange", first)
        self.real.exchange(first, second)

    def rename(self, source: str, target: str) -> None:
        self._step("rename", target)
        self.real.rename(source, target)

    def link(self, path: str, target: str) -> None:
        self._step("link", path)
        self.real.link(path, target)

    def create(self, path: str, content: NewEntry, metadata: FileMetadata) -> None:
        self._step("create", path)
        self.real.create(path, content, metadata)

    def sync_tree(self, path: str) -> None:
        self._step("sync_tree", path)
        self.real.sync_tree(path)

    def remove_tree(self, path: str) -> None:
        self._step("remove_tree", path)
        self.real.remove_tree(path)

    def clean_leftovers(self, directory: str) -> None:
        self._step("clean_leftovers", directory)
        self.real.clean_leftovers(directory)
