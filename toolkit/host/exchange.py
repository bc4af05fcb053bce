"""Replace or remove a file without losing what another process writes to it meanwhile.

A process that has the old file open, or has looked up its path, writes to a file that no path leads
to. So the old file keeps a temporary name until no process writes to it, and is restored if it
changed. The name holds what is needed to do so, and a later run does it after a kill.

Paths are those of this process, already resolved; every function raises OSError.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator

from msgspec import Struct

from toolkit.host.file_state import ChangedError, read_state, require, write_all
from toolkit.host.syscalls import Syscalls
from toolkit.host.writer import Known

_NEW = re.compile(r"\.nvidia-toolkit-[0-9a-f]{12}\.new")
"""Names that no ``*.toml``, ``*.conf`` or ``*.json`` pattern matches, and that nobody else uses."""
_OLD = re.compile(
    r"\.nvidia-toolkit-(?P<inode>[0-9a-f]+)-(?P<size>[0-9a-f]+)-(?P<digest>[0-9a-f]{12})"
    r"-(?P<target>.+)\.old",
    re.DOTALL,
)
_LONGEST = 255
"""Bytes of a file's name (NAME_MAX)."""
_NO_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EXDEV, errno.EOPNOTSUPP})


class _Ours(Struct, frozen=True, kw_only=True):
    """The new file, as recorded in the old one's temporary name; all defaults for a removal."""

    inode: int = 0
    size: int = 0
    digest: str = hashlib.sha256().hexdigest()[:12]

    def name(self, target: str) -> str:
        """Return the temporary name of the old file."""
        name = f".nvidia-toolkit-{self.inode:x}-{self.size:x}-{self.digest}-{target}.old"
        return name if len(os.fsencode(name)) <= _LONGEST else temporary_name()

    def appended(self, content: bytes) -> bytes | None:
        """Return what was appended to the new file; None if the content is not an extension."""
        if _digest(content[: self.size]) != self.digest:
            return None
        return content[self.size :]


def temporary_name() -> str:
    """Return an unused name for a file that is not in place yet."""
    return f".nvidia-toolkit-{os.urandom(6).hex()}.new"


def take_place(
    calls: Syscalls, temporary: str, path: str, content: bytes, instead_of: Known
) -> None:
    """Replace a file by a finished one; raise ChangedError if the old one has changed.

    A check before the rename leaves time to write the old file after it. So the two are exchanged,
    and the old one is checked afterwards.
    """
    require(path, instead_of)
    if instead_of is None or not os.path.lexists(path):
        calls.rename(temporary, path)
        return
    ours = _Ours(inode=os.lstat(temporary).st_ino, size=len(content), digest=_digest(content))
    place = _beside(path, ours.name(os.path.basename(path)))
    calls.rename(temporary, place)
    with _settled_on_error(calls, place, path, ours):
        try:
            calls.exchange(place, path)
        except OSError as error:
            if error.errno not in _NO_EXCHANGE:
                raise
            calls.rename(place, path)
            return
        with _writers_gone(calls, place):
            require(place, instead_of)
            calls.unlink(place)


def take_away(calls: Syscalls, path: str, instead_of: Known) -> None:
    """Remove a file; raise ChangedError if it has changed."""
    ours = _Ours()
    place = _beside(path, ours.name(os.path.basename(path)))
    calls.rename(path, place)
    with _settled_on_error(calls, place, path, ours), _writers_gone(calls, place):
        require(place, instead_of)
        calls.unlink(place)


def remove_temporaries(calls: Syscalls, directory: str) -> None:
    """Remove the temporary files of a killed run from a directory, and undo its exchanges."""
    with os.scandir(directory) as entries:
        found = [each for each in entries if not each.is_dir(follow_symlinks=False)]
    for each in found:
        if _NEW.fullmatch(each.name):
            calls.unlink(each.path)
        elif match := _OLD.fullmatch(each.name):
            ours = _Ours(
                inode=int(match["inode"], 16), size=int(match["size"], 16), digest=match["digest"]
            )
            _settle(calls, each.path, _beside(each.path, match["target"]), ours)
            calls.sync_directory(directory)


@contextlib.contextmanager
def removed_on_error(calls: Syscalls, path: str) -> Iterator[None]:
    """Remove a temporary entry if the body fails."""
    try:
        yield
    except (OSError, ChangedError):
        with contextlib.suppress(OSError):
            calls.unlink(path)
        raise


@contextlib.contextmanager
def _settled_on_error(calls: Syscalls, place: str, path: str, ours: _Ours) -> Iterator[None]:
    try:
        yield
    except (OSError, ChangedError):
        _settle(calls, place, path, ours)
        raise


@contextlib.contextmanager
def _writers_gone(calls: Syscalls, path: str) -> Iterator[None]:
    """Wait for the processes that write to a file; no other opens it for writing in the body."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        calls.await_writers(descriptor)
        yield
    finally:
        os.close(descriptor)


def _settle(calls: Syscalls, place: str, path: str, ours: _Ours) -> None:
    """Restore the old file, with what was appended to the new one.

    A new file that was rewritten, or replaced by a third one, is newer and stays.
    """
    if not ours.inode and not os.path.lexists(path):
        calls.rename(place, path)
    elif _is_ours(path, ours) and _same_owner(place, path):
        with _nobody_opens(calls, place) as old:
            calls.exchange(place, path)
            if _is_ours(place, ours):
                _add_appended(calls, place, path, ours, old)
                return
            calls.exchange(place, path)
        calls.unlink(place)
    elif _is_ours(place, ours):
        _add_appended(calls, place, path, ours, None)
    else:
        calls.unlink(place)


@contextlib.contextmanager
def _nobody_opens(calls: Syscalls, path: str) -> Iterator[int | None]:
    """Open a file to append to it; other processes wait until the body is done.

    So what they append next comes after what the body appends. None where this process may not
    write to the file: it can be restored even so.
    """
    try:
        descriptor = calls.open_to_append(path)
    except PermissionError:
        yield None
        return
    try:
        calls.await_writers(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def _add_appended(calls: Syscalls, place: str, path: str, ours: _Ours, old: int | None) -> None:
    """Add what was appended to the new file, now at ``place``, to the old one, and remove it."""
    with _writers_gone(calls, place):
        state = read_state(place)
        appended = None if state is None else ours.appended(state.content)
        if appended is None:
            calls.exchange(place, path)
        elif appended:
            descriptor = calls.open_to_append(path) if old is None else os.dup(old)
            try:
                write_all(calls, descriptor, appended)
                # Before the sync: after a kill in between it would be appended twice.
                calls.unlink(place)
                calls.sync(descriptor)
            finally:
                os.close(descriptor)
            return
        calls.unlink(place)


def _is_ours(path: str, ours: _Ours) -> bool:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_ino == ours.inode


def _same_owner(first: str, second: str) -> bool:
    """Tell whether the old file is genuine: the new one was given its owner."""
    one, other = os.lstat(first), os.lstat(second)
    return stat.S_ISREG(one.st_mode) and one.st_uid == other.st_uid


def _beside(path: str, name: str) -> str:
    return os.path.join(os.path.dirname(path), name)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
