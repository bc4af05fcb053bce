"""Check whether a file could be written, as far as possible without trying.

Paths are those of this process, already resolved.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os

_GET_FLAGS = 0x80086601
"""FS_IOC_GETFLAGS of 64-bit machines (Linux, include/uapi/linux/fs.h)."""
_FIXED = 0x10 | 0x20
"""FS_IMMUTABLE_FL and FS_APPEND_FL: such a file can be neither replaced nor removed."""


def require_replaceable(path: str) -> None:
    """Raise the OSError that replacing, creating or removing a file would raise.

    Its directory must exist.
    """
    # The dot makes it the directory itself when it is named by /proc/self/fd.
    _require(os.path.join(os.path.dirname(path), "."))
    if os.path.lexists(path):
        _require(path)


def _require(path: str) -> None:
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    if _is_fixed(path):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    if not os.access(path, os.W_OK, effective_ids=True):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def _is_fixed(path: str) -> bool:
    """Return whether a file has such an attribute; a file system without attributes has none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        flags = array.array("l", [0])
        fcntl.ioctl(descriptor, _GET_FLAGS, flags)
        return bool(flags[0] & _FIXED)
    except OSError:
        return False
    finally:
        os.close(descriptor)
