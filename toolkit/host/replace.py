"""Replace one whole file by another, so that an engine never sees a partial one.

Paths are those of this process, already resolved; every function raises OSError.
"""

from __future__ import annotations

import contextlib
import errno
import os

from msgspec import Struct

from toolkit.host.exchange import (
    remove_temporaries,
    removed_on_error,
    take_away,
    take_place,
    temporary_name,
)
from toolkit.host.file_state import (
    ChangedError,
    apply_metadata,
    read_state,
    require,
    state_of,
    write_all,
)
from toolkit.host.syscalls import Syscalls
from toolkit.host.writer import FileMetadata, FileState, Known

_NO_UNNAMED = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS})
_NO_LINKING = frozenset({errno.ENOENT, errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL})


class _NewFile(Struct, frozen=True, kw_only=True):
    """The file that replaces another."""

    content: bytes
    metadata: FileMetadata
    instead_of: Known


def replace_file(
    calls: Syscalls,
    path: str,
    content: bytes,
    metadata: FileMetadata | None,
    instead_of: Known,
) -> None:
    """Put a whole file in place and make it durable; see ``FileWriter.write``.

    Raises ChangedError if another process has written the old file meanwhile, up to the last
    moment.
    """
    directory = os.path.dirname(path)
    remove_temporaries(calls, directory)
    before = read_state(path)
    wanted = metadata or (before.metadata if before else FileMetadata(mode=0o644))
    new = _NewFile(content=content, metadata=wanted, instead_of=instead_of)
    try:
        if not _through_unnamed(calls, path, new, exists=before is not None):
            _through_named(calls, path, new)
    except OSError as error:
        if error.errno != errno.EBUSY or before is None:
            raise
        # The file is a mount of its own, so it cannot be replaced by a rename.
        _in_place(calls, path, new)
        return
    calls.sync_directory(directory)


def remove_file(calls: Syscalls, path: str, instead_of: Known) -> None:
    """Remove an entry and make that durable; see ``FileWriter.remove``.

    Raises ChangedError if another process has written it meanwhile, up to the last moment.
    """
    directory = os.path.dirname(path)
    remove_temporaries(calls, directory)
    require(path, instead_of)
    if instead_of is None:
        with contextlib.suppress(FileNotFoundError):
            calls.unlink(path)
    elif os.path.lexists(path):
        take_away(calls, path, instead_of)
    calls.sync_directory(directory)


def _through_unnamed(calls: Syscalls, path: str, new: _NewFile, *, exists: bool) -> bool:
    """Write a file without a name, then name it; return False if the file system cannot do that."""
    directory = os.path.dirname(path)
    try:
        descriptor = calls.open_unnamed(directory)
    except OSError as error:
        if error.errno in _NO_UNNAMED:
            return False
        raise
    try:
        _fill(calls, descriptor, new)
        require(path, new.instead_of)
        if not exists:
            with contextlib.suppress(FileExistsError):
                return _named(calls, descriptor, path)
        temporary = os.path.join(directory, temporary_name())
        if not _named(calls, descriptor, temporary):
            return False
    finally:
        os.close(descriptor)
    _take_place(calls, temporary, path, new)
    return True


def _named(calls: Syscalls, descriptor: int, path: str) -> bool:
    try:
        calls.link_unnamed(descriptor, path)
    except OSError as error:
        if error.errno in _NO_LINKING:
            return False
        raise
    return True


def _through_named(calls: Syscalls, path: str, new: _NewFile) -> None:
    """Write a file that has a name from the start, outside the directory that the engine reads.

    It is made in that directory itself only if the parent directory is on another mount.
    """
    directory = os.path.dirname(path)
    parent = os.path.join(directory, "..")
    if os.stat(parent).st_dev == os.stat(directory).st_dev:
        remove_temporaries(calls, parent)
        try:
            _write_and_rename(calls, parent, path, new)
        except OSError as error:
            if error.errno not in {errno.EXDEV, errno.EROFS, errno.EACCES}:
                raise
        else:
            calls.sync_directory(parent)
            return
    _write_and_rename(calls, directory, path, new)


def _write_and_rename(calls: Syscalls, directory: str, path: str, new: _NewFile) -> None:
    temporary = os.path.join(directory, temporary_name())
    descriptor = calls.open_new(temporary)
    try:
        with removed_on_error(calls, temporary):
            _fill(calls, descriptor, new)
    finally:
        os.close(descriptor)
    _take_place(calls, temporary, path, new)


def _take_place(calls: Syscalls, temporary: str, path: str, new: _NewFile) -> None:
    """Replace the old file. The new one must be closed: the replacement may have to wait for it."""
    with removed_on_error(calls, temporary):
        take_place(calls, temporary, path, new.content, new.instead_of)


def _in_place(calls: Syscalls, path: str, new: _NewFile) -> None:
    """Overwrite a file; no other process can open it from the check to the end."""
    descriptor = calls.open_existing(path)
    try:
        calls.await_writers(descriptor)
        before = state_of(descriptor)
        if new.instead_of is not None and before.content not in new.instead_of:
            raise ChangedError
        try:
            if len(new.content) > len(before.content):
                # A full disk is detected before the first byte is lost.
                calls.reserve(descriptor, len(new.content))
            _overwrite(calls, descriptor, FileState(content=new.content, metadata=new.metadata))
        except OSError:
            _overwrite(calls, descriptor, before)
            raise
    finally:
        os.close(descriptor)


def _overwrite(calls: Syscalls, descriptor: int, state: FileState) -> None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    write_all(calls, descriptor, state.content)
    calls.truncate(descriptor, len(state.content))
    apply_metadata(calls, descriptor, state.metadata)
    calls.sync(descriptor)


def _fill(calls: Syscalls, descriptor: int, new: _NewFile) -> None:
    write_all(calls, descriptor, new.content)
    apply_metadata(calls, descriptor, new.metadata)
    calls.sync(descriptor)
