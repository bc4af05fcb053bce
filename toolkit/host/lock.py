"""The lock of one installer a node: a flock on the pid file itself.

NVIDIA's installer takes the same flock on the same file (flock(2), LOCK_EX and LOCK_NB), so the
two exclude each other. Paths are those of this process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Sequence

from toolkit.errors import HostPathError, LockedError

_ATTEMPTS = 100
"""How often a file that goes away between opening and locking is opened again."""


class Lock:
    """A lock that is held, from ``acquire`` or ``adopt`` to ``release``."""

    def __init__(self, descriptor: int, path: str, made: Sequence[str] = ()) -> None:
        self.fd = descriptor
        """Close-on-exec, until ``os.set_inheritable`` lets it through an exec."""
        self.path = path
        self.made = tuple(made)
        """The directories that were made for the file, outermost first."""

    @classmethod
    def acquire(cls, path: str) -> Lock:
        """Take the lock and write our PID.

        Raises LockedError where another process holds it, whose file is left as it is, and
        HostPathError where the file can't be made.
        """
        made: list[str] = []
        try:
            for _ in range(_ATTEMPTS):
                descriptor = _open_locked(path, made)
                if descriptor is not None:
                    lock = cls(descriptor, path, made)
                    lock._write_pid()
                    return lock
        except (OSError, LockedError) as error:
            _remove_directories(made)
            if isinstance(error, LockedError):
                raise
            raise HostPathError(f"cannot lock {path}: {error.strerror}") from error
        _remove_directories(made)
        raise LockedError(f"{path} is being made and removed by others all the time")

    @classmethod
    def adopt(cls, descriptor: int, path: str, made: Sequence[str] = ()) -> Lock:
        """Go on with a lock whose descriptor came through an exec.

        Raises HostPathError where the descriptor is not the lock on that file any more.
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
        # Somebody may have emptied it; a disk that is full is no reason to give it up.
        with contextlib.suppress(OSError):
            lock._note_pid()
        return lock

    def holds(self) -> bool:
        """Tell whether the file that is locked is still the one at the path."""
        try:
            return _is_file_at(self.fd, self.path)
        except OSError:
            return False

    def release(self) -> None:
        """Remove the file while it is still locked, and the directories that were made for it.

        A file that somebody else put in its place stays. Raises HostPathError where the file
        can't be removed; the lock is given up all the same.
        """
        try:
            with contextlib.suppress(FileNotFoundError):
                if _is_file_at(self.fd, self.path):
                    os.unlink(self.path)
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
    """Open and lock the file; None where it was removed or replaced meanwhile."""
    # Not truncated: until it is locked the file, with the PID in it, is somebody else's.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        _make_directories(os.path.dirname(path), made)
        descriptor = os.open(path, flags, 0o644)
    except FileNotFoundError:  # a holder that ends removes the directories that it made
        return None
    try:
        _require_regular(descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A holder that removed the file before it let go leaves us a lock on a file without a name.
        if _is_file_at(descriptor, path):
            return descriptor
    except BlockingIOError:
        error = _locked(descriptor, path)
        os.close(descriptor)
        raise error from None
    except FileNotFoundError:
        pass
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _require_regular(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "Not a regular file")


def _is_file_at(descriptor: int, path: str) -> bool:
    return os.path.samestat(os.fstat(descriptor), os.lstat(path))


def _locked(descriptor: int, path: str) -> LockedError:
    text = os.pread(descriptor, 32, 0).split(b"\n")[0].strip()
    holder = int(text) if text.isdigit() else None
    known = "which has not written its PID" if holder is None else f"PID {holder}"
    error = LockedError(f"{path} is locked by another instance, {known}", "stop that one first")
    error.holder = holder
    return error


def _make_directories(path: str, made: list[str]) -> None:
    missing = []
    while not os.path.isdir(path) and path not in {"", "/"}:
        missing.append(path)
        path = os.path.dirname(path)
    for directory in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o755)
            made.append(directory)


def _remove_directories(made: Sequence[str]) -> None:
    """Remove what was made, innermost first, as far as it is empty."""
    for directory in reversed(made):
        with contextlib.suppress(OSError):
            os.rmdir(directory)
