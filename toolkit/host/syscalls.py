"""Every system call that changes a file, one method each, so that tests can inject faults.

Paths are those of this process, already resolved. Every method raises OSError.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from collections.abc import Callable

WRITER_SECONDS = 0.5
"""Seconds to wait for a process that has the file to be replaced open."""
UNKNOWN_WRITER_SECONDS = 0.05
"""The same where the file system cannot tell whether there is one."""
_LOOK_SECONDS = 0.002
_QUIET_LOOKS = 5
"""Looks in a row at which no process may be opening a file: the kernel may have paused one that
has looked the path up and is about to open it."""
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


class Syscalls:
    """The system calls of the writer."""

    def __init__(self, pause: Callable[[float], object] = time.sleep) -> None:
        self._pause = pause

    def open_unnamed(self, directory: str) -> int:
        """Open a new file that has no name yet (O_TMPFILE), mode 0600."""
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)

    def open_new(self, path: str) -> int:
        """Open a new file, mode 0600; an existing one is an error."""
        flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_RDWR | os.O_CLOEXEC
        return os.open(path, flags, 0o600)

    def open_existing(self, path: str) -> int:
        """Open a file for reading and writing, untruncated; a symbolic link is an error."""
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)

    def open_to_append(self, path: str) -> int:
        """Open a file for appending; a symbolic link is an error."""
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)

    def write(self, descriptor: int, content: bytes) -> int:
        """Write some or all of the bytes; return how many."""
        return os.write(descriptor, content)

    def reserve(self, descriptor: int, length: int) -> None:
        """Reserve the blocks for this many bytes, which may lengthen the file."""
        os.posix_fallocate(descriptor, 0, length)

    def truncate(self, descriptor: int, length: int) -> None:
        """Truncate the file to this many bytes."""
        os.ftruncate(descriptor, length)

    def chown(self, descriptor: int, uid: int, gid: int) -> None:
        """Set the owner."""
        os.fchown(descriptor, uid, gid)

    def chmod(self, descriptor: int, mode: int) -> None:
        """Set the permission bits, whatever the umask."""
        os.fchmod(descriptor, mode)

    def setxattr(self, descriptor: int, name: str, value: bytes) -> None:
        """Set an extended attribute."""
        os.setxattr(descriptor, name, value)

    def removexattr(self, descriptor: int, name: str) -> None:
        """Remove an extended attribute."""
        os.removexattr(descriptor, name)

    def await_writers(self, descriptor: int) -> None:
        """Wait until no other process has the file open for writing, up to a time limit.

        With a descriptor that writes: until no other process has it open at all. From then on the
        file cannot be opened until the descriptor is closed, where the file system has leases.
        The kernel refuses a lease while a process writes (fcntl(2), F_SETLEASE), in any container.
        """
        writes = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        lease = fcntl.F_WRLCK if writes else fcntl.F_RDLCK
        end = time.monotonic() + WRITER_SECONDS
        while not self._is_quiet(descriptor, lease) and time.monotonic() < end:
            pass

    def _is_quiet(self, descriptor: int, lease: int) -> bool:
        """Take a lease; return whether no process opens the file during a few looks."""
        try:
            # Opening a leased file for writing makes the kernel send SIGIO, which kills us.
            fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, lease)
        except OSError as error:
            held = error.errno == errno.EAGAIN
            self._pause(_LOOK_SECONDS if held else UNKNOWN_WRITER_SECONDS)
            return not held
        for _ in range(_QUIET_LOOKS):
            self._pause(_LOOK_SECONDS)
            if fcntl.fcntl(descriptor, fcntl.F_GETLEASE) != lease:
                fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
                return False
        return True

    def sync(self, descriptor: int) -> None:
        """Sync the file."""
        os.fsync(descriptor)

    def sync_directory(self, path: str) -> None:
        """Sync the directory's entries."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            # Some network and FUSE file systems have nothing to sync for a directory.
            if error.errno not in {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}:
                raise
        finally:
            os.close(descriptor)

    def link_unnamed(self, descriptor: int, path: str) -> None:
        """Name an unnamed file; an existing name is an error."""
        # A directory descriptor makes Python call linkat: only linkat follows the link in /proc.
        os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor, follow_symlinks=True)

    def rename(self, source: str, target: str) -> None:
        """Rename an entry over another."""
        os.rename(source, target)

    def exchange(self, first: str, second: str) -> None:
        """Exchange two entries in one step."""
        import ctypes  # os has no renameat2, and only this method needs ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        names = (os.fsencode(first), os.fsencode(second))
        if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), first, None, second)

    def unlink(self, path: str) -> None:
        """Remove an entry that is not a directory."""
        os.unlink(path)

    def symlink(self, target: str, path: str) -> None:
        """Create a symbolic link."""
        os.symlink(target, path)

    def mkdir(self, path: str, mode: int) -> None:
        """Create a directory with exactly this mode, whatever the umask."""
        os.mkdir(path, mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        os.rmdir(path)
