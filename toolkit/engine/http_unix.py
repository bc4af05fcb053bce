"""HTTP over a unix socket, for the engines that speak it (dockerd, CRI-O's status service)."""

from __future__ import annotations

import http.client
import socket
import time

from toolkit.errors import EngineNotFoundError, EngineTimeoutError

_OK = 200


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection whose host is a socket's path."""

    def __init__(self, path: str, deadline: float) -> None:
        """Prepare it; ``deadline`` is a reading of the monotonic clock."""
        super().__init__("localhost", timeout=max(0.05, deadline - time.monotonic()))
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self.timeout)
        try:
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        self.sock = connection


def get(connection: UnixConnection, target: str, socket_name: str) -> bytes:
    """Return a resource's body.

    Raises EngineTimeoutError where nothing answers in time, EngineNotFoundError where what answers
    does not speak HTTP or has no such resource; ``socket_name`` is the socket's host path.
    """
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        body = answer.read()
    except OSError as error:
        connection.close()
        raise EngineTimeoutError(f"{socket_name}: GET {target}: {error}") from error
    except http.client.HTTPException as error:
        connection.close()
        raise EngineNotFoundError(
            f"{socket_name} does not answer HTTP: {error!r}",
            "check --runtime and --socket",
        ) from error
    if answer.status != _OK:
        raise EngineNotFoundError(f"{socket_name}: GET {target}: {answer.status} {answer.reason}")
    return body
