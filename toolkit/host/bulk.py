"""Copy many files inside the kernel and sync them together.

Paths are those of this process: ``HostFiles`` resolves them before it calls this module.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from toolkit.host.file_state import apply_metadata, write_all
from toolkit.host.regular import open_regular
from toolkit.host.syscalls import Syscalls
from toolkit.host.writer import FileMetadata, NewEntry, NewLink

_CALLS = Syscalls()

_NOT_BY_KERNEL = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF}
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
        descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    else:
        descriptor = _CALLS.open_new(str(target))
    try:
        if isinstance(content, Path):
            _copy(content, descriptor)
        elif content is not None:
            write_all(_CALLS, descriptor, content)
        apply_metadata(_CALLS, descriptor, metadata)
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
        _CALLS.sync_directory(str(path))


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
            write_all(_CALLS, target, piece)
    if os.fstat(target).st_size >= _LARGE:
        # A hint to start writing the pages to disk; it does not wait for them.
        with contextlib.suppress(OSError):
            os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
