"""What can be seen of a file, of a program and of who listens on a socket.

Standard library C modules only: the keeper compares with it what the daemon saw.
"""

import _socket
import posix
import sys
import time

TYPE_CHECKING = False
"""The constant of ``typing``, without loading that module."""
if TYPE_CHECKING:
    from collections.abc import Callable

PEER_CREDENTIALS_BYTES = 12
"""struct ucred of SO_PEERCRED: pid, uid, gid, four bytes each."""
DOWN = "-"
MUTE = "mute"
"""An engine that hangs while the kernel still accepts connections for it."""
UNKNOWN = "?"
"""No file and no program looks like this."""
SOCKET_SECONDS = 3.0
"""How long an engine may take for its first byte."""
PROBE_SECONDS = 0.2
"""The longest between two calls of ``gives_up``."""


def signature(path: str) -> str:
    """Return a text that changes when the file is written or replaced; ``-`` without a file."""
    try:
        found = posix.stat(path)
    except OSError:
        return "-"
    # Every write changes ctime; mtime can be set back.
    return f"{found.st_mode:o}:{found.st_ino}:{found.st_size}:{found.st_ctime_ns}"


def executable_signature(path: str) -> str:
    """Return a text that changes when a program is replaced, hidden or no longer executable."""
    try:
        found, mounted = posix.stat(path), posix.statvfs(path)
    except OSError:
        return "-"
    barred = mounted.f_flag & posix.ST_NOEXEC
    return f"{found.st_mode:o}:{found.st_dev}:{found.st_ino}:{barred}"


def _never() -> bool:
    return False


def peer_of(path: str, greeting: bytes = b"", gives_up: "Callable[[], bool]" = _never) -> str:
    """Return the PID that listens on a socket, ``-`` where nobody does.

    With a greeting: ``mute`` where no byte comes in answer in time, or before ``gives_up``, which
    is called now and then, returns true.
    """
    try:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    except OSError:  # without a descriptor there is no proof that it answers
        return MUTE
    try:
        sock.settimeout(SOCKET_SECONDS)
        sock.connect(path)
        found = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, PEER_CREDENTIALS_BYTES)
    except OSError:
        sock.close()
        return DOWN
    try:
        if greeting:
            sock.sendall(greeting)
            if not _says_something(sock, gives_up):
                return MUTE
        return str(int.from_bytes(found[:4], sys.byteorder))
    except OSError:
        return MUTE
    finally:
        sock.close()


def _says_something(sock: "_socket.socket", gives_up: "Callable[[], bool]") -> bool:
    end = time.monotonic() + SOCKET_SECONDS
    sock.settimeout(PROBE_SECONDS)
    while time.monotonic() < end and not gives_up():
        try:
            return bool(sock.recv(1))
        except TimeoutError:
            pass
    return False
