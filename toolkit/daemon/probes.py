"""Answers HTTP probes with prepared texts, for the daemon and for the keeper.

Uses only what ``toolkit.daemon.keeper`` has loaded anyway; the keeper loads it only where there are
probes. Nothing here blocks: many clients are served at once, and between two turns the caller looks
at signals and files.
"""

from __future__ import annotations

import _socket
import posix
import time

CLIENT_SECONDS = 0.5
"""How long a client may take in total, from the turn that accepts it."""
IDLE_SECONDS = 0.2
"""The longest that a client waits to be accepted."""
BUSY_SECONDS = 0.02
"""The longest that an open client waits for its next piece to be read."""
CLIENTS = 128
"""The most clients open at once: a newer one replaces the oldest."""
ACCEPTED = 512
"""The most clients accepted in one turn; the others wait in the listener's queue."""
REQUEST_BYTES = 4096
"""The most bytes of a request that are read: its first line is enough."""
DRAINED_BYTES = 65536
"""The most bytes of the rest that are read and dropped: unread bytes are an error to the client."""


class Client:
    """A connection, and what the client sent."""

    __slots__ = ("answered", "end", "left", "said", "sock")

    def __init__(self, sock: _socket.socket, end: float) -> None:
        self.sock = sock
        self.end = end
        """A reading of the monotonic clock."""
        self.said = b""
        self.answered = False
        self.left = DRAINED_BYTES


class Probes:
    """The clients of one listening socket.

    ``answers`` holds the texts of /healthz, /readyz when ready, /readyz when not, /metrics when
    ready and /metrics when not.
    """

    def __init__(self, listener: int, answers: list[str]) -> None:
        self._listener = listener
        self._answers = answers
        self._clients: list[Client] = []

    def turn(self, ready: bool) -> float:  # noqa: FBT001 - by position, as the keeper calls it
        """Answer requests, accept clients, and close those whose time is over.

        Returns the seconds until the next turn.
        """
        now = time.monotonic()
        self._serve(ready, now)
        self._accept(ready, now)
        return BUSY_SECONDS if self._clients else IDLE_SECONDS

    def close(self) -> None:
        """Close every client."""
        for client in self._clients:
            client.sock.close()
        self._clients = []

    def _serve(self, ready: bool, now: float) -> None:  # noqa: FBT001 - the same
        still_open = []
        for client in self._clients:
            if self._step(client, ready) and now < client.end:
                still_open.append(client)
            else:
                client.sock.close()
        self._clients = still_open

    def _accept(self, ready: bool, now: float) -> None:  # noqa: FBT001 - the same
        try:
            listener = _socket.socket(fileno=posix.dup(self._listener))
        except OSError:  # no descriptor is left: the client tries again
            return
        try:
            listener.settimeout(0.0)
            for _ in range(ACCEPTED):
                try:
                    # The C type has no public accept: ``socket.accept`` wraps this one.
                    descriptor, _ = listener._accept()  # type: ignore[attr-defined] # noqa: SLF001
                except OSError:
                    return
                self._add(Client(_socket.socket(fileno=descriptor), now + CLIENT_SECONDS), ready)
        finally:
            listener.close()

    def _add(self, client: Client, ready: bool) -> None:  # noqa: FBT001 - the same
        client.sock.settimeout(0.0)
        if not self._step(client, ready):
            client.sock.close()
            return
        self._clients.append(client)
        if len(self._clients) > CLIENTS:
            oldest = self._clients.pop(0)
            # It may have sent a request since it was last looked at.
            self._step(oldest, ready)
            oldest.sock.close()

    def _step(self, client: Client, ready: bool) -> bool:  # noqa: FBT001 - the same
        """Read what a client has sent, and answer it; return whether it is still connected."""
        try:
            while client.left > 0:
                part = client.sock.recv(REQUEST_BYTES)
                client.left -= len(part)
                if not client.answered:
                    client.said += part
                    if not part or b"\n" in client.said or len(client.said) >= REQUEST_BYTES:
                        self._answer(client, ready)
                if not part:
                    return False
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def _answer(self, client: Client, ready: bool) -> None:  # noqa: FBT001 - the same
        """Send the answer, which always fits a socket's buffer. Raises OSError."""
        client.answered = True
        words = client.said.partition(b"\n")[0].split(b" ", 2)
        path = words[1].split(b"?")[0].strip() if len(words) > 1 else b""
        status, body = "200 OK", ""
        if path == b"/healthz":
            body = self._answers[0]
        elif path == b"/readyz":
            status = "200 OK" if ready else "503 Service Unavailable"
            body = self._answers[1] if ready else self._answers[2]
        elif path == b"/metrics":
            body = self._answers[3] if ready else self._answers[4]
        else:
            status = "404 Not Found"
        content = body.encode()
        client.sock.send(
            (
                f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\n"
                f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
            ).encode()
            + (b"" if words[0] == b"HEAD" else content)
        )
        client.sock.shutdown(_socket.SHUT_WR)
