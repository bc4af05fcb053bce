"""Whether a pid file could be locked, without trying: for commands that must not take the lock."""

from __future__ import annotations

import errno
import os
import stat

from toolkit.errors import LockedError, ToolkitError
from toolkit.host.lock import PID_LENGTH, locked_error, unlockable
from toolkit.host.writable import require_replaceable

_FLOCK_FIELDS = 6


def refusal(path: str, proc: str = "/proc") -> ToolkitError | None:
    """Return the error that ``Lock.acquire`` would end with; nothing is made and no lock is tried.

    ``proc`` is where this process sees /proc. None also where the table of locks can't be read.
    """
    try:
        directory = _require_place(path)
        if directory == os.path.dirname(path) and os.path.lexists(path):
            return _taken(path, proc)
    except OSError as error:
        return unlockable(path, error)
    return None


def _require_place(path: str) -> str:
    """Raise OSError where the file can't be made or opened; return the deepest directory there."""
    above = path
    while not os.path.isdir(os.path.dirname(above)):
        above = os.path.dirname(above)
        if os.path.lexists(above):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if os.path.isdir(above):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if os.path.lexists(above) and not stat.S_ISREG(os.lstat(above).st_mode):
        raise OSError(errno.EINVAL, "Not a regular file")
    require_replaceable(above)
    return os.path.dirname(above)


def _taken(path: str, proc: str) -> LockedError | None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        with open(os.path.join(proc, "locks"), encoding="utf-8") as table:
            text = table.read()
        noted = os.pread(descriptor, PID_LENGTH, 0)
        if flock_holder(text, os.fstat(descriptor), noted) is not None:
            return locked_error(descriptor, path)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def flock_holder(locks: str, state: os.stat_result, noted: bytes) -> int | None:
    """Return who has a file locked by flock(2), by the text of /proc/locks; the lock isn't tried.

    A line is ``1: FLOCK ADVISORY WRITE 42 00:1a:1234 0 EOF``. On a file system with subvolumes
    (btrfs) stat has another device than the table: the PID in the file, ``noted``, counts as well.
    """
    device = f"{os.major(state.st_dev):02x}:{os.minor(state.st_dev):02x}"
    for line in locks.splitlines():
        fields = line.split()
        if len(fields) < _FLOCK_FIELDS or fields[1] != "FLOCK":
            continue
        pid, (at, _, inode) = fields[4], fields[5].rpartition(":")
        if inode == str(state.st_ino) and (at == device or noted.strip() == pid.encode()):
            return int(pid)
    return None
