"""Open what should be a regular file, where something else may have been put."""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO


def open_regular(path: str | os.PathLike[str], *, follow: bool = True) -> FileIO:
    """Open a regular file for reading; anything else is an OSError.

    Without ``follow`` so is a symbolic link. A FIFO would block the open, and no signal ends that
    wait here.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
    try:
        require_regular(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return FileIO(descriptor, "rb")


def require_regular(descriptor: int) -> os.stat_result:
    """Raise OSError unless this is a regular file; return its state."""
    status = os.fstat(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file")
    return status
