"""The host's files in memory: a ``FileWriter`` and, with ``view()``, a ``HostView``."""

from __future__ import annotations

import errno
import os
import posixpath
from dataclasses import dataclass, field
from pathlib import Path

from runtime_configs import glob
from toolkit.errors import ConcurrentEditError, HostPathError
from toolkit.host.writer import FileMetadata, FileState, Known, NewEntry, NewLink


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory."""

    mode: int = 0o755


@dataclass(slots=True)
class MemoryFiles:
    """Fulfils ``FileWriter``. ``entries`` is the whole tree; ``calls`` what was done to it."""

    entries: dict[str, FileState | Link | Directory] = field(
        default_factory=lambda: {"/": Directory()}
    )
    calls: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def holding(cls, files: dict[str, bytes]) -> MemoryFiles:
        """Return a host with these files, mode 0644, and their directories."""
        made = cls()
        for path, content in files.items():
            made.put(path, content)
        return made

    def put(self, path: str, content: bytes, metadata: FileMetadata | None = None) -> None:
        """What somebody else does to the host: no call of ours."""
        for directory in self._missing(posixpath.dirname(path)):
            self.entries[directory] = Directory()
        self.entries[path] = FileState(
            content=content, metadata=metadata or FileMetadata(mode=0o644)
        )

    def contents(self) -> dict[str, bytes]:
        """Return every file's bytes, for comparing before and after."""
        return {
            path: entry.content
            for path, entry in self.entries.items()
            if isinstance(entry, FileState)
        }

    def view(self) -> MemoryView:
        """Return the same host as adapters see it."""
        return MemoryView(self)

    def read(self, path: str) -> FileState | None:
        entry = self.entries.get(self._resolve(path))
        if isinstance(entry, Directory):
            raise _error("read", path, errno.EISDIR)
        return entry if isinstance(entry, FileState) else None

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
        self.calls.append(("write", path))
        self._refuse_link("write", path, follow=follow)
        place = self._resolve(path)
        before = self.entries.get(place)
        self._require(path, instead_of)
        if isinstance(before, Directory):
            raise _error("write", path, errno.EISDIR)
        self._require_parent("write", path, place)
        kept = before.metadata if isinstance(before, FileState) else FileMetadata(mode=0o644)
        self.entries[place] = FileState(content=content, metadata=metadata or kept)

    def remove(self, path: str, *, instead_of: Known = None, follow: bool = True) -> None:
        self.calls.append(("remove", path))
        self._refuse_link("remove", path, follow=follow)
        self._require(path, instead_of)
        self._drop(path, self._resolve(path))

    def _refuse_link(self, what: str, path: str, *, follow: bool) -> None:
        if not follow and isinstance(self.entries.get(self._entry(path)), Link):
            raise _error(what, path, errno.ELOOP)

    def remove_link(self, path: str) -> None:
        self.calls.append(("remove_link", path))
        place = self._entry(path)
        if not isinstance(self.entries.get(place, Link("")), Link):
            raise HostPathError(f"cannot remove {path}: it is not a symbolic link")
        self._drop(path, place)

    def real_path(self, path: str) -> str:
        return self._resolve(path)

    def missing_directories(self, path: str) -> tuple[str, ...]:
        return self._missing(self._resolve(path))

    def make_directories(self, path: str, mode: int = 0o755) -> tuple[str, ...]:
        self.calls.append(("make_directories", path))
        made = self.missing_directories(path)
        if made:
            self._require_parent("make directory", path, made[0])
        for directory in made:
            self.entries[directory] = Directory(mode)
        if not isinstance(self.entries[self._resolve(path)], Directory):
            raise _error("make directory", path, errno.ENOTDIR)
        return made

    def remove_directory(self, path: str) -> bool:
        self.calls.append(("remove_directory", path))
        place = self._entry(path)
        if not isinstance(self.entries.get(place, Directory()), Directory):
            raise _error("remove directory", path, errno.ENOTDIR)
        if self._below(place):
            return False
        self.entries.pop(place, None)
        return True

    def exchange(self, first: str, second: str) -> None:
        self.calls.append(("exchange", first))
        places = (self._entry(first), self._entry(second))
        for place in places:
            if place not in self.entries:
                raise _error("exchange", place, errno.ENOENT)
        if any(a.startswith(b + "/") for a, b in (places, places[::-1])):
            raise _error("exchange", first, errno.EINVAL)
        trees = [self._take(place) for place in places]
        self._place(places[1], trees[0])
        self._place(places[0], trees[1])

    def rename(self, source: str, target: str) -> None:
        self.calls.append(("rename", target))
        places = (self._entry(source), self._entry(target))
        if places[0] not in self.entries:
            raise _error(f"rename {source} to", target, errno.ENOENT)
        self._require_parent(f"rename {source} to", target, places[1])
        kinds = [isinstance(self.entries.get(place), Directory) for place in places]
        nested = places[1].startswith(places[0] + "/")
        replaced = places[1] in self.entries and kinds[0] != kinds[1]
        if nested or replaced or (places[0] != places[1] and self._below(places[1])):
            raise _error(f"rename {source} to", target, errno.EINVAL)
        self._place(places[1], self._take(places[0]))

    def link(self, path: str, target: str) -> None:
        self.calls.append(("link", path))
        place = self._entry(path)
        if isinstance(self.entries.get(place), Directory):
            raise _error("link", path, errno.EISDIR)
        self._require_parent("link", path, place)
        self.entries[place] = Link(target)

    def create(self, path: str, content: NewEntry, metadata: FileMetadata) -> None:
        self.calls.append(("create", path))
        place = self._entry(path)
        if place in self.entries:
            raise _error("write", path, errno.EEXIST)
        self._require_parent("write", path, place)
        if isinstance(content, NewLink):
            self.entries[place] = Link(content.target)
        elif content is None:
            self.entries[place] = Directory(metadata.mode)
        else:
            found = content.read_bytes() if isinstance(content, Path) else content
            self.entries[place] = FileState(content=found, metadata=metadata)

    def sync_tree(self, path: str) -> None:
        self.calls.append(("sync_tree", path))

    def remove_tree(self, path: str) -> None:
        self.calls.append(("remove_tree", path))
        self._take(self._entry(path))

    def clean_leftovers(self, directory: str) -> None:
        self.calls.append(("clean_leftovers", directory))

    def _resolve(self, path: str, links: int = 40) -> str:
        place = self._entry(path, links)
        entry = self.entries.get(place)
        if not isinstance(entry, Link):
            return place
        if not links:
            raise _error("read", path, errno.ELOOP)
        target = posixpath.normpath(posixpath.join(posixpath.dirname(place), entry.target))
        return self._resolve(target, links - 1)

    def _entry(self, path: str, links: int = 40) -> str:
        directory, name = posixpath.split(posixpath.normpath(path))
        if not name:
            return "/"
        return posixpath.join(self._resolve(directory, links), name)

    def _missing(self, place: str) -> tuple[str, ...]:
        missing = []
        while place not in self.entries:
            missing.append(place)
            place = posixpath.dirname(place)
        return tuple(reversed(missing))

    def _below(self, place: str) -> list[str]:
        return [path for path in self.entries if path.startswith(place.rstrip("/") + "/")]

    def _take(self, place: str) -> dict[str, FileState | Link | Directory]:
        paths = [path for path in [place, *self._below(place)] if path in self.entries]
        return {path[len(place) :]: self.entries.pop(path) for path in paths}

    def _place(self, place: str, tree: dict[str, FileState | Link | Directory]) -> None:
        self.entries.update({place + rest: entry for rest, entry in tree.items()})

    def _require(self, path: str, known: Known) -> None:
        if known is not None and self.view().read(path) not in known:
            raise ConcurrentEditError(f"{path} was modified by another process while being written")

    def _drop(self, path: str, place: str) -> None:
        if isinstance(self.entries.get(place), Directory):
            raise _error("remove", path, errno.EISDIR)
        self.entries.pop(place, None)

    def _require_parent(self, what: str, path: str, place: str) -> None:
        if not isinstance(self.entries.get(posixpath.dirname(place)), Directory):
            raise _error(what, path, errno.ENOENT)


@dataclass(frozen=True, slots=True)
class MemoryView:
    """Fulfils ``HostView`` over the files in memory."""

    files: MemoryFiles

    def read(self, path: str) -> bytes | None:
        state = self.files.read(path)
        return state.content if state else None

    def glob(self, pattern: str) -> tuple[str, ...]:
        found = [path for path in self.files.entries if glob.matches(pattern, path)]
        return tuple(sorted(found, key=glob.glob_order))

    def is_directory(self, path: str) -> bool:
        return isinstance(self.files.entries.get(path), Directory)


def _error(what: str, path: str, number: int) -> HostPathError:
    return HostPathError(f"cannot {what} {path}: {os.strerror(number)}")
