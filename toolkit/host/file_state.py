"""Read a regular file's bytes and metadata, and apply metadata to another file.

Paths are those of this process, already resolved; every function raises OSError.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection

from toolkit.host.regular import open_regular, require_regular
from toolkit.host.syscalls import Syscalls
from toolkit.host.writer import ACL, FileMetadata, FileState, Known

MAX_SIZE = 256 * 1024 * 1024
"""Size limit in bytes of a file that is read whole, far above any config or payload file."""
_NO_XATTRS = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})
_BOUND_TO_CONTENT = frozenset({"security.ima", "security.evm"})
"""Signatures of the content: with other content they make the file unreadable."""


class ChangedError(Exception):
    """The file to be replaced has other content than expected; nothing was changed."""


def read_state(path: str) -> FileState | None:
    """Read a regular file with its metadata; None where there is none."""
    try:
        file = open_regular(path, follow=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with file:
        return state_of(file.fileno())


def state_of(descriptor: int) -> FileState:
    """Read an open file from its beginning."""
    status = require_regular(descriptor)
    if status.st_size > MAX_SIZE:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    metadata = FileMetadata(
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        xattrs=_read_xattrs(descriptor),
    )
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "rb", closefd=False) as file:
        return FileState(content=file.read(), metadata=metadata, links=status.st_nlink)


def require(path: str, known: Known) -> None:
    """Raise ChangedError unless a file has one of these contents."""
    if known is None:
        return
    state = read_state(path)
    if (None if state is None else state.content) not in known:
        raise ChangedError


def write_all(calls: Syscalls, descriptor: int, content: bytes) -> None:
    """Write all bytes, in as many calls as it takes."""
    while content:
        content = content[calls.write(descriptor, content) :]


def apply_metadata(calls: Syscalls, descriptor: int, metadata: FileMetadata) -> None:
    """Set the mode, owner and attributes of an open file where they differ."""
    status = os.fstat(descriptor)
    if (status.st_uid, status.st_gid) != (metadata.uid, metadata.gid):
        calls.chown(descriptor, metadata.uid, metadata.gid)
    present = _read_xattrs(descriptor, {ACL, *metadata.xattrs})
    for name, value in metadata.xattrs.items():
        if present.get(name) != value:
            calls.setxattr(descriptor, name, value)
    if ACL in present and ACL not in metadata.xattrs:
        # From the directory's default ACL: it would grant access that the old file did not.
        calls.removexattr(descriptor, ACL)
    # Last: chown clears set-user-ID bits, and an ACL changes the group's bits.
    calls.chmod(descriptor, metadata.mode)


def _read_xattrs(descriptor: int, names: Collection[str] | None = None) -> dict[str, bytes]:
    """Return these attributes of a file, all by default."""
    try:
        found = [name for name in os.listxattr(descriptor) if name not in _BOUND_TO_CONTENT]
        wanted = found if names is None else [name for name in found if name in names]
        return {name: os.getxattr(descriptor, name) for name in wanted}
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return {}
        raise
