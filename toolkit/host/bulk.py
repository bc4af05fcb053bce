"""Copy many files inside the kernel and sync them together.

Paths are those of this process: ``HostFiles`` resolves them before it calls this module.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from toolkit.host.regular import open_regular
from toolkit.host.writer import ACL, FileMetadata, NewEntry, NewLink

_NOT_BY_KERNEL = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF}
_NOTHING_TO_SYNC = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
_PIECE = 1 << 24
_LARGE = 1 << 20
"""Size in bytes from which the kernel starts writing a file to disk while the next one is
copied."""
_PARALLEL = 4
"""Number of threads that sync; a journalling file system commits concurrent syncs together."""


def create_entry(target: Path, content: NewEntry, metadata: FileMetadata) -> None:
    """Create a file, link or directory without syncing it. Raises OSError."""
    if isinstance(content, NewLink):
        target.symlink_to(content.target)
        return
    if content is None:
        target.mkdir()
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    else:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(target, flags, 0o600)
    try:
        if isinstance(content, Path):
            _copy(content, descriptor)
        elif content is not None:
            _write_all(descriptor, content)
        os.fchown(descriptor, metadata.uid, metadata.gid)
        if ACL not in metadata.xattrs and ACL in _names(descriptor):
            os.removexattr(descriptor, ACL)
        os.fchmod(descriptor, metadata.mode)
        for name, value in metadata.xattrs.items():
            os.setxattr(descriptor, name, value)
    finally:
        os.close(descriptor)


def sync_tree(directory: Path) -> None:
    """Sync a directory and everything below it. Raises OSError."""
    from concurrent.futures import ThreadPoolExecutor

    files: list[Path] = []
    directories: list[Path] = []
    for parent, _, names in os.walk(directory):
        directories.append(Path(parent))
        files.extend(path for name in names if not (path := Path(parent, name)).is_symlink())
    with ThreadPoolExecutor(_PARALLEL) as pool:
        list(pool.map(_sync, files))
    for path in reversed(directories):
        _sync(path)


def _names(descriptor: int) -> list[str]:
    try:
        return os.listxattr(descriptor)
    except OSError:  # a file system without extended attributes
        return []


def _copy(source: Path, target: int) -> None:
    with open_regular(source, follow=False) as reader:
        try:
            while os.copy_file_range(reader.fileno(), target, _PIECE):
                pass
        except OSError as error:
            if error.errno not in _NOT_BY_KERNEL:
                raise
        # Some file systems do not support this call, or report an early end. Both offsets have
        # moved, so plain reads continue where the kernel stopped.
        while piece := reader.read(_PIECE):
            _write_all(target, piece)
    if os.fstat(target).st_size >= _LARGE:
        # A hint to start writing the pages to disk; it does not wait for them.
        with contextlib.suppress(OSError):
            os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and FUSE file systems have nothing to sync for a directory.
        if error.errno not in _NOTHING_TO_SYNC or not path.is_dir():
            raise
    finally:
        os.close(descriptor)
