"""How one whole file takes the place of another, such that an engine never sees a part of it.

Paths are those of this process, already resolved; every function raises OSError.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator

from msgspec import Struct

from toolkit.host.syscalls import Syscalls
from toolkit.host.writer import ACL, FileMetadata, FileState, Known

MAX_SIZE = 256 * 1024 * 1024
"""Bytes of the largest file that is read whole; no config and no part of the payload comes near."""
_TEMPORARY = re.compile(r"\.nvidia-toolkit-[0-9a-f]{12}\.new")
"""Names that no ``*.toml``, ``*.conf`` or ``*.json`` pattern matches, and that nobody else uses."""
_NO_UNNAMED = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS})
_NO_LINKING = frozenset({errno.ENOENT, errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL})
_NO_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EXDEV, errno.EOPNOTSUPP})
_NO_XATTRS = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})
_BOUND_TO_CONTENT = frozenset({"security.ima", "security.evm"})
"""Signatures of the old bytes: on the new ones they would make the file unreadable."""


class _NewFile(Struct, frozen=True, kw_only=True):
    """What is to take a file's place."""

    content: bytes
    metadata: FileMetadata
    instead_of: Known


class ChangedError(Exception):
    """A file that was to be replaced holds something else than it should: nothing was done."""


def temporary_name() -> str:
    """Return a new name for a file that is not in place yet."""
    return f".nvidia-toolkit-{os.urandom(6).hex()}.new"


def read_state(path: str) -> FileState | None:
    """Read a regular file with its metadata; None where there is none."""
    try:
        # O_NONBLOCK: a FIFO in the place of a config must not stop the daemon.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        status = os.fstat(descriptor)
        _require_readable(status)
        metadata = FileMetadata(
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            xattrs=_read_xattrs(descriptor),
        )
        with open(descriptor, "rb", closefd=False) as file:
            return FileState(content=file.read(), metadata=metadata, links=status.st_nlink)
    finally:
        os.close(descriptor)


def replace_file(
    calls: Syscalls,
    path: str,
    content: bytes,
    metadata: FileMetadata | None,
    instead_of: Known,
) -> None:
    """Put a whole file in place and make it durable; see ``FileWriter.write``.

    Raises ChangedError where somebody has written the old one meanwhile, to the last moment.
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
        # The file is a mount of its own: nothing can be renamed over it.
        require(path, instead_of)
        _in_place(calls, path, before, FileState(content=content, metadata=wanted))
        return
    calls.sync_directory(directory)


def remove_file(calls: Syscalls, path: str, instead_of: Known) -> None:
    """Remove an entry and make that durable; see ``FileWriter.remove``.

    Raises ChangedError where somebody has written it meanwhile, to the last moment.
    """
    directory = os.path.dirname(path)
    remove_temporaries(calls, directory)
    require(path, instead_of)
    if instead_of is None:
        with contextlib.suppress(FileNotFoundError):
            calls.unlink(path)
    elif os.path.lexists(path):
        temporary = os.path.join(directory, temporary_name())
        calls.rename(path, temporary)
        try:
            _require_at_last(calls, temporary, instead_of)
            calls.unlink(temporary)
        except (OSError, ChangedError):
            if not os.path.lexists(path):
                calls.rename(temporary, path)
            raise
    calls.sync_directory(directory)


def remove_temporaries(calls: Syscalls, directory: str) -> None:
    """Remove what a killed process of ours left in a directory."""
    with os.scandir(directory) as entries:
        found = [
            entry.path
            for entry in entries
            if _TEMPORARY.fullmatch(entry.name) and not entry.is_dir(follow_symlinks=False)
        ]
    for path in found:
        calls.unlink(path)


@contextlib.contextmanager
def removed_on_error(calls: Syscalls, path: str) -> Iterator[None]:
    """Take a temporary entry away again when what follows fails."""
    try:
        yield
    except (OSError, ChangedError):
        with contextlib.suppress(OSError):
            calls.unlink(path)
        raise


def _through_unnamed(calls: Syscalls, path: str, new: _NewFile, *, exists: bool) -> bool:
    """Write a file without a name, then name it; False where the file system can't do that."""
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
        with removed_on_error(calls, temporary):
            _take_place(calls, temporary, path, new)
        return True
    finally:
        os.close(descriptor)


def _named(calls: Syscalls, descriptor: int, path: str) -> bool:
    try:
        calls.link_unnamed(descriptor, path)
    except OSError as error:
        if error.errno in _NO_LINKING:
            return False
        raise
    return True


def _through_named(calls: Syscalls, path: str, new: _NewFile) -> None:
    """Write a file that has a name from the start, beside the directory that the engine reads.

    Only where the parent directory belongs to another mount is it made in the directory itself.
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
            _take_place(calls, temporary, path, new)
    finally:
        os.close(descriptor)


def _take_place(calls: Syscalls, temporary: str, path: str, new: _NewFile) -> None:
    """Rename a finished file over the old one, unless that is not any more what it should be.

    Making it durable takes long enough for somebody to write the old one, and even between a look
    and a rename there is time: they are exchanged, and what came out is looked at.
    """
    require(path, new.instead_of)
    if new.instead_of is None or not os.path.lexists(path):
        calls.rename(temporary, path)
        return
    try:
        calls.exchange(temporary, path)
    except OSError as error:
        if error.errno not in _NO_EXCHANGE:
            raise
        calls.rename(temporary, path)
        return
    try:
        _require_at_last(calls, temporary, new.instead_of)
    except ChangedError:
        _exchange_back(calls, temporary, path, new.content)
        raise
    calls.unlink(temporary)


def _require_at_last(calls: Syscalls, path: str, known: Known) -> None:
    """Look at a file that lost its name, once those are done who have it open for writing.

    What an editor or an ``echo >>`` writes to it after our look would be lost. Nobody can open it
    for writing until the descriptor is closed.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        calls.await_writers(descriptor)
        require(path, known)
    finally:
        os.close(descriptor)


def _exchange_back(calls: Syscalls, temporary: str, path: str, ours: bytes) -> None:
    """Give the old file its place again, with what somebody made of ours in between."""
    calls.exchange(temporary, path)
    state = read_state(temporary)
    if state is None or state.content == ours:
        return
    if not state.content.startswith(ours):
        # Who wrote last, wins.
        calls.exchange(temporary, path)
        return
    descriptor = calls.open_existing(path)
    try:
        os.lseek(descriptor, 0, os.SEEK_END)
        _write_all(calls, descriptor, state.content.removeprefix(ours))
        calls.sync(descriptor)
    finally:
        os.close(descriptor)


def require(path: str, known: Known) -> None:
    """Raise ChangedError unless a file holds one of these contents."""
    if known is None:
        return
    state = read_state(path)
    if (None if state is None else state.content) not in known:
        raise ChangedError


def _in_place(calls: Syscalls, path: str, before: FileState, after: FileState) -> None:
    descriptor = calls.open_existing(path)
    try:
        try:
            if len(after.content) > len(before.content):
                # A full disk is found out before the first byte is lost.
                calls.reserve(descriptor, len(after.content))
            _overwrite(calls, descriptor, after)
        except OSError:
            _overwrite(calls, descriptor, before)
            raise
    finally:
        os.close(descriptor)


def _overwrite(calls: Syscalls, descriptor: int, state: FileState) -> None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    _write_all(calls, descriptor, state.content)
    calls.truncate(descriptor, len(state.content))
    _apply(calls, descriptor, state.metadata)
    calls.sync(descriptor)


def _fill(calls: Syscalls, descriptor: int, new: _NewFile) -> None:
    _write_all(calls, descriptor, new.content)
    _apply(calls, descriptor, new.metadata)
    calls.sync(descriptor)


def _write_all(calls: Syscalls, descriptor: int, content: bytes) -> None:
    while content:
        content = content[calls.write(descriptor, content) :]


def _apply(calls: Syscalls, descriptor: int, metadata: FileMetadata) -> None:
    status = os.fstat(descriptor)
    if (status.st_uid, status.st_gid) != (metadata.uid, metadata.gid):
        calls.chown(descriptor, metadata.uid, metadata.gid)
    present = _read_xattrs(descriptor)
    for name, value in metadata.xattrs.items():
        if present.get(name) != value:
            calls.setxattr(descriptor, name, value)
    if ACL in present and ACL not in metadata.xattrs:
        # Of the directory's default ACL: others would read what the old file kept from them.
        calls.removexattr(descriptor, ACL)
    # Last: chown takes set-user-ID bits away, and an ACL changes the group's bits.
    calls.chmod(descriptor, metadata.mode)


def _read_xattrs(descriptor: int) -> dict[str, bytes]:
    try:
        names = [name for name in os.listxattr(descriptor) if name not in _BOUND_TO_CONTENT]
        return {name: os.getxattr(descriptor, name) for name in names}
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return {}
        raise


def _require_readable(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file")
    if status.st_size > MAX_SIZE:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
