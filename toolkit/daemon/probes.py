"""Answers HTTP probes with texts that were prepared: for the daemon and for the process that stays.

Only what ``toolkit.daemon.keeper`` has loaded anyway, and loaded by it only where there are probes.
"""

from __future__ import annotations

import _socket
import posix
import time

TURN_SECONDS = 0.25
"""How long probes are answered before signals and files have their turn again."""
CLIENT_SECONDS = 0.25
"""How long a client may take to say what it wants."""
REQUEST_BYTES = 4096
"""The most of a request that is looked at: its first line says all."""
DRAINED_BYTES = 65536
"""The most of its rest that is read away: what lies unread at the end is an error to the client."""


def answer(listener: int, ready: bool, answers: list[str]) -> None:  # noqa: FBT001 - by position, as idle calls it
    """Answer the HTTP requests that wait on a listening socket, for one turn at most.

    ``answers`` holds the texts of /healthz, /readyz when ready, /readyz when not, /metrics when
    ready and /metrics when not.
    """
    try:
        sock = _socket.socket(fileno=posix.dup(listener))
    except OSError:  # no descriptor is left: the client asks again
        return
    end = time.monotonic() + TURN_SECONDS
    try:
        while time.monotonic() < end:
            sock.settimeout(0.0)
            try:
                # The C type has no public accept: ``socket.accept`` wraps this one.
                descriptor, _ = sock._accept()  # type: ignore[attr-defined] # noqa: SLF001
            except OSError:
                return
            _answer_one(_socket.socket(fileno=descriptor), ready, answers)
    finally:
        sock.close()


def _answer_one(client: _socket.socket, ready: bool, answers: list[str]) -> None:  # noqa: FBT001 - the same
    try:
        client.settimeout(CLIENT_SECONDS)
        words = _first_line(client).split(b" ", 2)
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
        client.shutdown(_socket.SHUT_WR)
        _drain(client)
    except OSError:
        return
    finally:
        client.close()


def _first_line(client: _socket.socket) -> bytes:
    """Return what came until the end of the first line, however many pieces it came in."""
    said = b""
    while b"\n" not in said and len(said) < REQUEST_BYTES:
        part = client.recv(REQUEST_BYTES)
        if not part:
            break
        said += part
    return said


def _drain(client: _socket.socket) -> None:
    left = DRAINED_BYTES
    client.settimeout(0.0)
    while left > 0:
        part = client.recv(REQUEST_BYTES)
        if not part:
            return
        left -= len(part)
