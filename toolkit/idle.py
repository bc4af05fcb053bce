"""What stays resident between a set-up and the next event: standard library's C modules only.

Run as ``python -I -S idle.py ARGUMENTS`` in place of the daemon, with its PID, its blocked signals
and the lock's descriptor. It holds no knowledge: what to watch, what to answer and what to exec
back into is prepared by ``toolkit.residency`` and comes in the arguments, since ``json``,
``socket`` or ``signal`` (for ``enum``) alone would cost more memory than all of this.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import posix
import sys
import time

TERMINATION = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGQUIT)
PEER_CREDENTIALS_BYTES = 12
"""struct ucred of SO_PEERCRED: pid, uid, gid, four bytes each."""
SOCKET_SECONDS = 2.0
PROBE_SECONDS = 0.2
"""With ``--health-address``: the longest that a probe waits to be taken."""
REQUEST_BYTES = 4096


def signature(path: str) -> str:
    """Return what changes when a file is written or replaced; ``-`` where there is none."""
    try:
        found = posix.stat(path)
    except OSError:
        return "-"
    return f"{found.st_mode:o}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"


def peer_of(path: str) -> str:
    """Return the PID that listens on a socket, or ``-`` where nobody does."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.settimeout(SOCKET_SECONDS)
        sock.connect(path)
        found = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, PEER_CREDENTIALS_BYTES)
        return str(int.from_bytes(found[:4], sys.byteorder))
    except OSError:
        return "-"
    finally:
        sock.close()


def difference(socket: str, peer: str, watched: list[str]) -> str:
    """Return what differs from what was prepared, or an empty text."""
    for index in range(0, len(watched), 2):
        if signature(watched[index]) != watched[index + 1]:
            return "file " + watched[index]
    if socket:
        now = peer_of(socket)
        if now != peer:
            return "engine " + ("stopped" if now == "-" else "restarted")
    return ""


def answer(listener: int, ready: bool, answers: list[str]) -> None:  # noqa: FBT001 - no keywords: see the module
    """Answer the HTTP requests that wait on a listening socket.

    ``answers`` holds the texts of /healthz, /readyz when ready, /readyz when not, /metrics when
    ready and /metrics when not.
    """
    sock = _socket.socket(fileno=posix.dup(listener))
    try:
        while True:
            sock.settimeout(0.0)
            try:
                # The C type has no public accept: ``socket.accept`` wraps this one.
                descriptor, _ = sock._accept()  # type: ignore[attr-defined] # noqa: SLF001
            except OSError:
                return
            _answer_one(_socket.socket(fileno=descriptor), ready, answers)
    finally:
        sock.close()


def _answer_one(client: "_socket.socket", ready: bool, answers: list[str]) -> None:  # noqa: FBT001 - the same
    try:
        client.settimeout(1.0)
        words = client.recv(REQUEST_BYTES).split(b" ", 2)
        path = words[1].split(b"?")[0] if len(words) > 1 else b""
        status, body = "200 OK", ""
        if path == b"/healthz":
            body = answers[0]
        elif path == b"/readyz":
            status = "200 OK" if ready else "503 Service Unavailable"
            body = answers[1] if ready else answers[2]
        elif path == b"/metrics":
            body = answers[3] if ready else answers[4]
        else:
            status = "404 Not Found"
        content = body.encode()
        client.sendall(
            (
                f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\n"
                f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
            ).encode()
            + (b"" if words[0] == b"HEAD" else content)
        )
    except OSError:
        return
    finally:
        client.close()


def wait(seconds: float, listener: int, ready: bool, answers: list[str]) -> bool:  # noqa: FBT001 - the same
    """Wait so long, for ever when negative; return whether a termination signal is pending.

    It stays pending: what it means is the daemon's to decide.
    """
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic() if seconds >= 0 else 3600.0
        if left <= 0:
            return False
        if listener >= 0:
            left = min(left, PROBE_SECONDS)
        taken = _signal.sigtimedwait(TERMINATION, left)
        if taken is not None:
            posix.kill(posix.getpid(), taken.si_signo)
            return True
        if listener >= 0:
            answer(listener, ready, answers)


def main(arguments: list[str]) -> None:
    """Watch until something happens, then become the daemon again, saying what it was."""
    interval, rest, listener = float(arguments[0]), float(arguments[1]), int(arguments[2])
    ready_file, socket, peer = arguments[3], arguments[4], arguments[5]
    answers, count = arguments[6:11], int(arguments[11])
    watched, command = arguments[12 : 12 + count], arguments[12 + count :]
    ready = signature(ready_file) != "-"
    earliest = time.monotonic() + rest
    reason = ""
    while not reason:
        if wait(interval if interval > 0 else -1.0, listener, ready, answers):
            reason = "signal"
            break
        found = difference(socket, peer, watched)
        if found and ready:
            # Before anything else: a probe must not believe in what may be gone.
            ready = False
            try:  # noqa: SIM105 - contextlib is not imported here
                posix.unlink(ready_file)
            except OSError:
                pass
        if found and time.monotonic() >= earliest:
            reason = found
    environment = dict(posix.environ)
    environment[b"NVIDIA_TOOLKIT_WOKEN"] = reason.encode(errors="surrogateescape")
    posix.execve(command[0], command, environment)


if __name__ == "__main__":
    main(sys.argv[1:])
