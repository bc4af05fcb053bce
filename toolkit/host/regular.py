"""Opening what should be a regular file, where somebody may have put something else."""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO


def open_regular(path: str | os.PathLike[str]) -> FileIO:
    """Open a regular file for reading, links followed; anything else is an OSError.

    A FIFO would be waited for, and no signal ends that wait here.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "Not a regular file")
    return FileIO(descriptor, "rb")
