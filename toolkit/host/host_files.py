"""The only writer of the host's files: whole files, durable, links resolved inside the root."""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path

from toolkit.errors import (
    ConcurrentEditError,
    ExchangeUnsupportedError,
    HostPathError,
    NotWritableError,
)
from toolkit.host import bulk
from toolkit.host.exchange import remove_temporaries, removed_on_error, temporary_name
from toolkit.host.file_state import ChangedError, read_state
from toolkit.host.mounts import below, read_mountinfo
from toolkit.host.paths import HostRoot, NoDirectoryError
from toolkit.host.replace import remove_file, replace_file
from toolkit.host.syscalls import Syscalls
from toolkit.host.writable import require_replaceable
from toolkit.host.writer import FileMetadata, FileState, Known, NewEntry

_NO_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EXDEV, errno.EBUSY, errno.EOPNOTSUPP})
_FIXES = {
    errno.EROFS: "mount it writable, or make the change in what generates that file",
    errno.EPERM: "remove its attribute, which `lsattr` shows (`chattr -i`, `chattr -a`)",
}


class _NoDirectoryOnHostError(HostPathError):
    """The directory of an entry is missing, so the entry is too."""


class HostFiles:
    """Implements ``FileWriter``; every path is a host path."""

    def __init__(self, root: HostRoot, calls: Syscalls | None = None) -> None:
        self._root = root
        self._calls = calls or Syscalls()

    def read(self, path: str) -> FileState | None:
        """Return the file, or None if there is none."""
        with _missing_is_fine(), self._place("read", path, follow=True) as place:
            return read_state(place)
        return None

    def require_writable(self, path: str) -> None:
        """Raise NotWritableError where ``write`` or ``remove`` would fail; nothing is tried."""
        missing = self.missing_directories(posixpath.dirname(path))
        try:
            with self._root.held(missing[0] if missing else path, follow=not missing) as place:
                require_replaceable(place)
        except OSError as error:
            target = self._root.resolve(path)
            which = path if target == path else f"{path} (by links {target})"
            fix = _FIXES.get(error.errno or 0, "")
            raise NotWritableError(f"cannot write {which}: {error.strerror}", fix) from error

    def write(
        self,
        path: str,
        content: bytes,
        metadata: FileMetadata | None = None,
        *,
        instead_of: Known = None,
        follow: bool = True,
    ) -> None:
        """Write a whole file, durably."""
        with self._place("write", path, follow=follow) as place:
            replace_file(self._calls, place, content, metadata, instead_of)

    def remove(self, path: str, *, instead_of: Known = None, follow: bool = True) -> None:
        """Remove a file, durably; a link's target for a link."""
        with _missing_is_fine(), self._place("remove", path, follow=follow) as place:
            if not follow and os.path.islink(place):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            remove_file(self._calls, place, instead_of)

    def remove_link(self, path: str) -> None:
        """Remove a symbolic link, durably, not its target."""
        with _missing_is_fine(), self._place("remove", path) as place:
            if os.path.lexists(place) and not os.path.islink(place):
                raise HostPathError(f"cannot remove {path}: it is not a symbolic link")
            remove_file(self._calls, place, None)

    def real_path(self, path: str) -> str:
        """Return a path with every symbolic link resolved."""
        return self._root.resolve(path)

    def missing_directories(self, path: str) -> tuple[str, ...]:
        """Return the directories that ``make_directories`` would create, outermost first."""
        with _host_path_errors("look at", path):
            parts = self._root.resolve(path).split("/")[1:]
            prefixes = ["/" + "/".join(parts[: depth + 1]) for depth in range(len(parts))]
            missing = [each for each in prefixes if not os.path.lexists(self._root.locate(each))]
            return tuple(missing) if any(parts) else ()

    def make_directories(self, path: str, mode: int = 0o755) -> tuple[str, ...]:
        """Create a directory and its missing parents, durably; return those created."""
        made: list[str] = []
        with _host_path_errors("make directory", path):
            try:
                for directory in self.missing_directories(path):
                    with self._root.held(directory, follow=False) as place:
                        self._calls.mkdir(place, mode)
                        made.append(directory)
                        self._calls.sync_directory(os.path.dirname(place))
                if not os.path.isdir(self._root.access(path)):
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            except OSError:
                for directory in reversed(made):
                    with (
                        contextlib.suppress(OSError),
                        self._root.held(directory, follow=False) as place,
                    ):
                        self._calls.rmdir(place)
                raise
        return tuple(made)

    def remove_directory(self, path: str) -> bool:
        """Remove a directory if it exists and is empty, durably; return whether it is gone."""
        with _missing_is_fine(), self._place("remove directory", path) as place:
            if not os.path.lexists(place):
                return True
            if os.path.isdir(place) and not os.path.islink(place):
                remove_temporaries(self._calls, place)
            try:
                self._calls.rmdir(place)
            except OSError as error:
                # EBUSY: it is a mount point.
                if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY}:
                    return False
                raise
            self._calls.sync_directory(os.path.dirname(place))
        return True

    def exchange(self, first: str, second: str) -> None:
        """Exchange two entries in one step, durably."""
        with self._place("exchange", second) as other, self._place("exchange", first) as one:
            try:
                self._calls.exchange(one, other)
            except OSError as error:
                if error.errno in _NO_EXCHANGE:
                    reason = f"{first} and {second} can't be exchanged: {error.strerror}"
                    raise ExchangeUnsupportedError(reason) from error
                raise
            self._sync_parents(one, other)

    def rename(self, source: str, target: str) -> None:
        """Rename an entry within a file system, durably."""
        what = f"rename {source} to"
        with self._place("rename", source) as old, self._place(what, target) as new:
            self._calls.rename(old, new)
            self._sync_parents(old, new)

    def link(self, path: str, target: str) -> None:
        """Make ``path`` a symbolic link to ``target``, in one step, durably."""
        with self._place("link", path) as place:
            directory = os.path.dirname(place)
            remove_temporaries(self._calls, directory)
            temporary = os.path.join(directory, temporary_name())
            self._calls.symlink(target, temporary)
            with removed_on_error(self._calls, temporary):
                self._calls.rename(temporary, place)
            self._calls.sync_directory(directory)

    def create(self, path: str, content: NewEntry, metadata: FileMetadata) -> None:
        """Create an entry in a tree that nobody reads yet; durable only after ``sync_tree``."""
        with self._place("write", path) as place:
            bulk.create_entry(Path(place), content, metadata)

    def sync_tree(self, path: str) -> None:
        """Sync a directory and everything below it."""
        with self._place("sync", path) as place:
            bulk.sync_tree(Path(place))

    def remove_tree(self, path: str) -> None:
        """Remove a directory tree without following links or crossing mounts."""
        with _missing_is_fine(), self._place("remove", path) as place:
            if not os.path.lexists(place):
                return
            seen = self._root.entry(path)
            for mount in read_mountinfo(os.path.join(self._root.proc, "self/mountinfo")):
                if below(mount.point, seen) is not None:
                    raise HostPathError(
                        f"cannot remove {path}: something is mounted at {mount.point}",
                        "unmount it first",
                    )
            self._remove_below(place, os.lstat(place).st_dev)
            self._calls.sync_directory(os.path.dirname(place))

    def clean_leftovers(self, directory: str) -> None:
        """Remove the temporary files that a killed installer left in a directory."""
        entry = os.path.join(directory, temporary_name())
        with (
            _missing_is_fine(),
            _host_path_errors("clean", directory),
            self._root.held(entry, follow=False) as place,
        ):
            held = os.path.dirname(place)
            remove_temporaries(self._calls, held)
            # Without unnamed files they are created beside the directory, where that is writable.
            with contextlib.suppress(OSError):
                remove_temporaries(self._calls, os.path.join(held, ".."))

    @contextlib.contextmanager
    def _place(self, what: str, path: str, *, follow: bool = False) -> Iterator[str]:
        """Yield where this process finds an entry, as ``HostRoot.held``; name it in errors."""
        with _host_path_errors(what, path), self._root.held(path, follow=follow) as place:
            yield place

    def _remove_below(self, place: str, device: int) -> None:
        """Remove an entry and everything below it.

        Each directory is held open while it is read and emptied: a link put in its place is not
        followed.
        """
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(place, flags)
        except OSError as error:
            if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
                raise
            self._calls.unlink(place)
            return
        try:
            if os.fstat(descriptor).st_dev != device:
                raise OSError(errno.EXDEV, "Another file system is mounted below it")
            for name in os.listdir(descriptor):
                self._remove_below(f"/proc/self/fd/{descriptor}/{name}", device)
        finally:
            os.close(descriptor)
        self._calls.rmdir(place)

    def _sync_parents(self, *places: str) -> None:
        for directory in dict.fromkeys(os.path.dirname(place) for place in places):
            self._calls.sync_directory(directory)


def _missing_is_fine() -> contextlib.suppress:
    """Treat a missing directory as a missing file."""
    return contextlib.suppress(_NoDirectoryOnHostError)


@contextlib.contextmanager
def _host_path_errors(what: str, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        linked = error.errno == errno.ELOOP
        reason = "a symbolic link is in its place" if linked else error.strerror
        kind = _NoDirectoryOnHostError if isinstance(error, NoDirectoryError) else HostPathError
        raise kind(f"cannot {what} {path}: {reason}") from error
    except ChangedError as error:
        raise ConcurrentEditError(
            f"{path} was modified by another process while being written", "run again"
        ) from error
