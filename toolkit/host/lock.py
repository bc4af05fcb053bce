"""The lock that allows one installer per node: a flock on the pid file.

NVIDIA's installer takes the same flock on the same file (flock(2), LOCK_EX and LOCK_NB), so the two
exclude each other. Paths are those of this process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterable, Sequence

from toolkit.errors import HostPathError, LockedError
from toolkit.host.regular import open_regular, require_regular

MADE = ".toolkit-made"
"""File next to the pid file that lists the directories created for it, until the record does."""
PID_LENGTH = 32
"""Bytes of the file that are read: more than any PID has."""
_ATTEMPTS = 100
"""Attempts to open and lock a file that others keep removing."""


class Lock:
    """A lock held from ``acquire`` or ``adopt`` to ``release``."""

    def __init__(self, descriptor: int, path: str, made: Iterable[str] = ()) -> None:
        self.fd = descriptor
        """Close-on-exec, unless ``os.set_inheritable`` lets it through an exec."""
        self.path = path
        self.made = tuple(made)
        """The directories created for the file, outermost first."""

    @classmethod
    def acquire(cls, path: str) -> Lock:
        """Take the lock and write our PID.

        Raises LockedError if another process holds it (its file is not changed), and HostPathError
        if the file cannot be created.
        """
        made: list[str] = []
        try:
            for _ in range(_ATTEMPTS):
                descriptor = _open_locked(path, made)
                if descriptor is not None:
                    lock = cls(descriptor, path, dict.fromkeys((*_read_note(path), *made)))
                    lock._write_pid()
                    return lock
        except (OSError, LockedError) as error:
            _unmake(path, made)
            if isinstance(error, LockedError):
                raise
            raise unlockable(path, error) from error
        _unmake(path, made)
        raise LockedError(f"other processes keep creating and removing {path}")

    @classmethod
    def adopt(cls, descriptor: int, path: str, made: Sequence[str] = ()) -> Lock:
        """Continue with a lock whose descriptor came through an exec.

        Raises HostPathError if the descriptor no longer locks the file at that path.
        """
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = _is_file_at(descriptor, path)
        except OSError as error:
            raise HostPathError(f"the lock on {path} was lost: {error.strerror}") from error
        if not same:
            raise HostPathError(f"the lock on {path} was lost: the file was replaced")
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - takes no keyword
        lock = cls(descriptor, path, made)
        # The file may have been emptied; a full disk is no reason to give the lock up.
        with contextlib.suppress(OSError):
            lock._note_pid()
        return lock

    def holds(self) -> bool:
        """Return whether the locked file is still the one at the path."""
        try:
            return _is_file_at(self.fd, self.path)
        except OSError:
            return False

    def note_made(self, directories: Sequence[str]) -> None:
        """Write the list of created directories next to the pid file, until the record names them.

        An empty list removes the note. A full disk is ignored.
        """
        lines = [each for each in directories if self.path.startswith(f"{each}/")]
        with contextlib.suppress(OSError):
            if lines:
                _write_note(os.path.dirname(self.path), lines)
            else:
                _remove_note(self.path)

    def release(self) -> None:
        """Remove the file while it is still locked, and the directories created for it.

        A file that another process put in its place stays. Raises HostPathError if the file cannot
        be removed; the lock is released all the same.
        """
        try:
            with contextlib.suppress(FileNotFoundError):
                if _is_file_at(self.fd, self.path):
                    os.unlink(self.path)
            _remove_note(self.path)
        except OSError as error:
            raise HostPathError(f"cannot remove {self.path}: {error.strerror}") from error
        finally:
            os.close(self.fd)
        _remove_directories(self.made)

    def _note_pid(self) -> None:
        content = f"{os.getpid()}\n".encode()
        if os.pread(self.fd, len(content) + 1, 0) != content:
            os.ftruncate(self.fd, 0)
            os.pwrite(self.fd, content, 0)

    def _write_pid(self) -> None:
        try:
            self._note_pid()
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            os.close(self.fd)
            raise


def _open_locked(path: str, made: list[str]) -> int | None:
    """Open and lock the file; return None if it was removed or replaced meanwhile."""
    # Not truncated: until we hold the lock, the file and its PID belong to another process.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        _make_directories(os.path.dirname(path), made)
        descriptor = os.open(path, flags, 0o644)
    except FileNotFoundError:  # a holder that exits removes the directories it created
        return None
    with contextlib.ExitStack() as unless_locked:
        unless_locked.callback(os.close, descriptor)
        require_regular(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise locked_error(descriptor, path) from None
        # A holder that removes the file before it releases the lock leaves us one without a name.
        with contextlib.suppress(FileNotFoundError):
            if _is_file_at(descriptor, path):
                unless_locked.pop_all()
                return descriptor
    return None


def _is_file_at(descriptor: int, path: str) -> bool:
    return os.path.samestat(os.fstat(descriptor), os.lstat(path))


def unlockable(path: str, error: OSError) -> HostPathError:
    """Return the error of a pid file that can't be made or opened."""
    fix = "mount it writable, or " if error.errno == errno.EROFS else ""
    return HostPathError(
        f"cannot lock {path}: {error.strerror}", f"{fix}name another with --pid-file"
    )


def locked_error(descriptor: int, path: str) -> LockedError:
    """Return the error that names the holder of an open pid file."""
    text = os.pread(descriptor, PID_LENGTH, 0).split(b"\n")[0].strip()
    holder = int(text) if text.isdigit() else None
    known = "which has not written its PID" if holder is None else f"PID {holder}"
    error = LockedError(f"{path} is locked by another instance, {known}", "stop that one first")
    error.holder = holder
    return error


def held_by_other(path: str) -> LockedError | None:
    """Return the error that names the holder of the lock on a pid file; None if it is free.

    A shared lock is tried and released at once: unlike /proc/locks this works across PID
    namespaces.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return locked_error(descriptor, path)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def _make_directories(path: str, made: list[str]) -> None:
    """Create a directory and its parents; the note about them appears in the same step.

    So a run that is killed at any moment leaves no directory that the note does not name.
    """
    missing = []
    directory = path
    while not os.path.isdir(directory) and directory not in {"", "/"}:
        missing.append(directory)
        directory = os.path.dirname(directory)
    if not missing:
        return
    outermost = missing[-1]
    prepared = os.path.join(directory, f".{os.path.basename(outermost)}.toolkit-new")
    _remove_tree(prepared)
    inside = prepared + path[len(outermost) :]
    with contextlib.suppress(FileExistsError):  # another process prepares the same directory
        os.makedirs(inside, 0o755)
    missing.reverse()
    _write_note(inside, missing)
    try:
        os.rename(prepared, outermost)
    except OSError as error:
        _remove_tree(prepared)
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise
    else:
        made += missing


def _remove_tree(path: str) -> None:
    if os.path.lexists(path):
        from shutil import rmtree  # slow to load (archive formats), and seldom needed

        rmtree(path, ignore_errors=True)


def _write_note(directory: str, made: Sequence[str]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(os.path.join(directory, MADE), flags, 0o644)
    with open(descriptor, "w") as note:
        note.write("".join(f"{each}\n" for each in made))


def _remove_note(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(os.path.dirname(path), MADE))


def _read_note(path: str) -> tuple[str, ...]:
    """Return the directories that this run, or one that was killed, created."""
    try:
        with open_regular(os.path.join(os.path.dirname(path), MADE), follow=False) as note:
            lines = note.read().decode().splitlines()
    except (OSError, UnicodeError):
        return ()
    return tuple(each for each in lines if path.startswith(f"{each}/"))


def _unmake(path: str, made: Sequence[str]) -> None:
    if made:
        with contextlib.suppress(OSError):
            _remove_note(path)
    _remove_directories(made)


def _remove_directories(made: Sequence[str]) -> None:
    """Remove the created directories that are empty, innermost first."""
    for directory in reversed(made):
        with contextlib.suppress(OSError):
            os.rmdir(directory)
