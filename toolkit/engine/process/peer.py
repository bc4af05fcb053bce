"""Identify the process behind a socket.

SO_PEERCRED names the process that called listen(); with socket activation that is systemd, PID 1.
SCM_CREDENTIALS on received bytes names their sender, provided that SO_PASSCRED was set before
connect(): an engine that speaks first (containerd) is otherwise faster than the option, and its
first bytes carry PID 0.

``_socket`` is the part of ``socket`` needed here; it loads at once.
"""

from __future__ import annotations

import _socket
import struct
from contextlib import closing

from msgspec import Struct

from runtime_configs.model import EngineName, of_engine
from toolkit.engine import wait

_UCRED = struct.Struct("3i")
GRPC_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""A gRPC client's first bytes: the preface of HTTP/2 and empty settings."""
GREETINGS = {
    EngineName.CONTAINERD: GRPC_GREETING,
    EngineName.CRIO: GRPC_GREETING,
    EngineName.DOCKER: b"GET /_ping HTTP/1.0\r\nHost: localhost\r\n\r\n",
}
"""Bytes to which an engine always replies on its socket."""
_SILENCE_SECONDS = 2.0


class Peer(Struct, frozen=True, kw_only=True):
    """The process behind a socket, as numbered in this PID namespace."""

    pid: int
    """0 if it is in no PID namespace visible from here."""
    spoke: bool
    """Whether it sent bytes; then the PID is the sender's, else the listener's."""


def greeting_of(engine: EngineName) -> bytes:
    """Return bytes to which an engine replies."""
    return of_engine(GREETINGS, engine, "GREETINGS in toolkit/engine/process/peer.py")


def identify(path: str, engine: EngineName, deadline: float) -> Peer:
    """Connect to an engine's socket and identify the peer; ``path`` is where this process opens it.

    If the peer is silent for two seconds, its listener is returned. ``deadline`` is monotonic.
    Raises OSError if nothing accepts the connection.
    """
    with closing(_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)) as connection:
        connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
        connection.settimeout(wait.left(deadline))
        connection.connect(path)
        listener = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _UCRED.size)
        seconds = min(wait.left(deadline), _SILENCE_SECONDS)
        sender = _sender(connection, greeting_of(engine), seconds)
        if sender is not None:
            return Peer(pid=sender, spoke=True)
        return Peer(pid=_UCRED.unpack(listener)[0], spoke=False)


def refusal(path: str) -> str | None:
    """Return why a socket accepts no connection right now; None if it does."""
    with closing(_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)) as connection:
        # Not blocking: a full backlog means that nothing accepts.
        connection.settimeout(0)
        try:
            connection.connect(path)
        except OSError as error:
            return error.strerror or str(error)
        return None


def _sender(connection: _socket.socket, greeting: bytes, seconds: float) -> int | None:
    """Return the PID of the sender of the first bytes, or None if none arrive."""
    try:
        connection.settimeout(seconds)
        connection.sendall(greeting)
        data, ancillary, _, _ = connection.recvmsg(512, _socket.CMSG_SPACE(_UCRED.size))
    except OSError:  # silent, or it closed the connection at once
        return None
    if not data:
        return None
    for level, kind, payload in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_CREDENTIALS:
            return int(_UCRED.unpack(payload[: _UCRED.size])[0])
    return None
