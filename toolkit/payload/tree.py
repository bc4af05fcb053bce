"""Create, copy, check and describe whole trees below the install directory."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from toolkit.host.clock import Clock
from toolkit.host.paths import HostRoot
from toolkit.host.regular import open_regular
from toolkit.host.writer import FileMetadata, FileWriter, NewEntry, NewLink
from toolkit.payload.manifest import Entry, EntryKind, Manifest, listing

_PIECE = 1 << 18
_PARALLEL = 2
"""Comparing threads: reading releases the interpreter's lock, comparing does not."""


class Trees(Struct, frozen=True, kw_only=True):
    """Operations on directories that are named by their host paths."""

    root: HostRoot
    writer: FileWriter

    def at(self, path: str) -> Path:
        """Return where this process sees a host path, links followed."""
        return Path(self.root.access(path))

    def entry(self, path: str) -> Path:
        """Return where this process sees the entry itself."""
        return Path(self.root.entry(path))

    def exists(self, path: str) -> bool:
        """Return whether an entry exists, even as a broken link."""
        return os.path.lexists(self.entry(path))

    def inode(self, path: str) -> int | None:
        """Return the inode of the entry itself, or None if there is none."""
        try:
            return self.entry(path).lstat().st_ino
        except OSError:
            return None

    def copy(self, source: str, target: str) -> None:
        """Copy a tree as it is, durably."""
        manifest = self.describe(source)
        contents = {each.path: self.at(source) / each.path for each in manifest.entries}
        for _ in self._create(target, manifest, contents):
            pass
        self.writer.sync_tree(target)

    def create_checked(
        self,
        directory: str,
        manifest: Manifest,
        contents: Mapping[str, bytes | Path],
        clock: Clock,
    ) -> tuple[str, ...]:
        """Create a tree durably, compare it with its sources, and return each path that differs.

        Each file is compared byte by byte while the next ones are copied and the disk is busy. That
        is cheaper than checksums, with which the source files were compared before.
        """
        from concurrent.futures import Future, ThreadPoolExecutor

        base = self.at(posixpath.dirname(directory)) / posixpath.basename(directory)
        checks: dict[str, Future[bool]] = {}
        with ThreadPoolExecutor(_PARALLEL) as pool:
            for each in self._create(directory, manifest, contents):
                clock.check()
                if each.kind is EntryKind.FILE:
                    name = each.path
                    checks[name] = pool.submit(_same, base / name, contents[name])
            self.writer.sync_tree(directory)
            wrong = [name for name, same in checks.items() if not same.result()]
        return (*manifest.differences(base, exempt=contents), *wrong)

    def _create(
        self, directory: str, manifest: Manifest, contents: Mapping[str, bytes | Path]
    ) -> Iterator[Entry]:
        """Create a tree that nobody reads yet, unsynced; yield each entry that is created."""
        self.writer.remove_tree(directory)
        self.writer.create(directory, None, FileMetadata(mode=0o755))
        for each in manifest.entries:
            new: NewEntry
            if each.kind is EntryKind.DIRECTORY:
                new = None
            elif each.kind is EntryKind.LINK:
                new = NewLink(target=each.target)
            else:
                new = contents[each.path]
            metadata = FileMetadata(mode=each.mode)
            self.writer.create(posixpath.join(directory, each.path), new, metadata)
            yield each

    def describe(self, directory: str) -> Manifest:
        """Return the entries of a tree, without checksums; sockets and the like are left out."""
        base = self.at(directory)
        found = []
        for name in sorted(listing(base)):
            status = (base / name).lstat()
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISLNK(status.st_mode):
                target = os.readlink(base / name)
                found.append(Entry(path=name, kind=EntryKind.LINK, target=target))
            elif stat.S_ISDIR(status.st_mode):
                found.append(Entry(path=name, kind=EntryKind.DIRECTORY, mode=mode))
            elif stat.S_ISREG(status.st_mode):
                found.append(Entry(path=name, kind=EntryKind.FILE, mode=mode, size=status.st_size))
        return Manifest(entries=tuple(found))


def _same(path: Path, content: bytes | Path) -> bool:
    """Return whether a file has these bytes, or those of another file. Raises OSError."""
    if isinstance(content, bytes):
        with open_regular(path) as copy:
            return copy.read() == content
    with open_regular(path) as copy, open_regular(content) as source:
        while piece := source.read(_PIECE):
            if copy.read(_PIECE) != piece:
                return False
        return not copy.read(1)
