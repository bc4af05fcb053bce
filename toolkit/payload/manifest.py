"""The contents of a generation (names, kinds, modes, checksums), and the comparison with a tree."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from toolkit.host.regular import open_regular

_PARALLEL = max(2, os.cpu_count() or 1)
"""Threads; computing a checksum releases the interpreter's lock."""


Stamp = tuple[int, int, int, int, int]
"""See ``stamp``."""


class EntryKind(StrEnum):
    """The kind of an entry."""

    FILE = "file"
    LINK = "link"
    DIRECTORY = "directory"


class Entry(Struct, frozen=True, kw_only=True):
    """One entry below the toolkit directory."""

    path: str
    """Relative to the toolkit directory."""
    kind: EntryKind
    mode: int = 0o777
    """Permission bits; a link has none of its own."""
    sha256: str = ""
    size: int = 0
    """Bytes of a file."""
    target: str = ""
    """Target of a link."""


class Manifest(Struct, frozen=True, kw_only=True):
    """Every entry of one generation; directories precede their contents."""

    entries: tuple[Entry, ...]

    @property
    def digest(self) -> str:
        """The generation's name: a SHA-256 over names, kinds, modes, contents and targets."""
        lines = sorted(
            f"{each.path}\0{each.kind}\0{each.mode:o}\0{each.sha256}\0{each.target}\n"
            for each in self.entries
        )
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(each.size for each in self.entries)

    @property
    def names(self) -> frozenset[str]:
        """Every path."""
        return frozenset(each.path for each in self.entries)

    def differences(self, directory: Path, exempt: Iterable[str] = ()) -> tuple[str, ...]:
        """Compare a tree, contents included, with this manifest; return each path that differs.

        ``exempt`` names files that must exist but may have any content. Entries of the tree that
        are not in the manifest count as different.
        """
        from concurrent.futures import ThreadPoolExecutor

        free = frozenset(exempt)
        with ThreadPoolExecutor(_PARALLEL) as pool:
            same = pool.map(lambda each: _matches(directory, each, free), self.entries)
            wrong = [each.path for each, fits in zip(self.entries, same, strict=True) if not fits]
        return (*wrong, *sorted(listing(directory) - self.names))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal. Raises OSError."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sums_of(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the SHA-256 of several files, computed in parallel. Raises OSError."""
    wanted = list(paths)
    if not wanted:
        return {}
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_PARALLEL) as pool:
        return dict(zip(wanted, pool.map(sha256_of, wanted), strict=True))


def listing(directory: Path) -> frozenset[str]:
    """Return every path below a directory, relative to it; links are not followed."""
    found = []
    for parent, directories, files in os.walk(directory):
        base = os.path.relpath(parent, directory)
        found += [os.path.normpath(os.path.join(base, name)) for name in (*directories, *files)]
    return frozenset(found)


def stamp(path: Path) -> Stamp:
    """Return what changes whenever a file is modified: size, mode, inode, times in ns.

    The inode's change time cannot be set back. Raises OSError.
    """
    status = path.lstat()
    return (
        status.st_size,
        status.st_mode,
        status.st_ino,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _matches(directory: Path, entry: Entry, exempt: frozenset[str]) -> bool:
    path = directory / entry.path
    try:
        status = path.lstat()
        if entry.kind is EntryKind.LINK:
            return stat.S_ISLNK(status.st_mode) and os.readlink(path) == entry.target
        wanted = stat.S_IFDIR if entry.kind is EntryKind.DIRECTORY else stat.S_IFREG
        if status.st_mode != wanted | entry.mode:
            return False
        if entry.kind is EntryKind.DIRECTORY or entry.path in exempt:
            return True
        return status.st_size == entry.size and sha256_of(path) == entry.sha256
    except OSError:
        return False
