"""HTTP over a unix socket, for dockerd and CRI-O's status service."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from toolkit.engine import wait
from toolkit.errors import EngineNotFoundError, EngineTimeoutError
from toolkit.host.clock import UninterruptedClock

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_SUCCESS = 2
"""First digit of a successful status."""


class MissingResourceError(EngineNotFoundError):
    """The server does not have this resource, or no longer has it."""


class _TimedSocket(socket.socket):
    """A unix socket whose steps share one deadline.

    A plain socket timeout restarts at each step: many small steps would exceed the deadline.
    """

    def __init__(self, deadline: float, check: Callable[[], None] | None) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._deadline = deadline
        self._check = check

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        """Send everything in the time left."""
        self.limit()
        super().sendall(data, flags)

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        """Receive in the time left, calling ``check`` now and then."""
        while self._check is not None:
            self._check()
            self.limit(wait.CHECK_SECONDS)
            with contextlib.suppress(TimeoutError):
                return super().recv_into(buffer, nbytes, flags)
        self.limit()
        return super().recv_into(buffer, nbytes, flags)

    def limit(self, at_most: float = math.inf) -> None:
        """Give the next step the time left. Raises TimeoutError if there is none."""
        left = self._deadline - UninterruptedClock().now()
        if left <= 0:
            raise TimeoutError("timed out")
        self.settimeout(min(left, at_most))


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection to a unix socket, with one deadline for all its calls."""

    def __init__(
        self, access: str, name: str, deadline: float, check: Callable[[], None] | None = None
    ) -> None:
        """Prepare the connection; this process opens the host's socket ``name`` at ``access``.

        ``check`` is called now and then while waiting for an answer; an exception from it ends the
        call.
        """
        self._access = access
        self._name = name
        self._check = check
        super().__init__("localhost")
        self._deadline = UninterruptedClock().now() + wait.left(deadline)

    def connect(self) -> None:
        """Connect to the socket."""
        connection = _TimedSocket(self._deadline, self._check)
        try:
            connection.limit()
            connection.connect(self._access)
        except OSError:
            connection.close()
            raise
        self.sock = connection

    def call(self, method: str, target: str, document: object = None) -> bytes:
        """Send a request, with an optional JSON document, and return the answer's body.

        Raises EngineTimeoutError if nothing answers in time, MissingResourceError if the server has
        no such resource, EngineNotFoundError if it does not speak HTTP or refuses.
        """
        try:
            if document is None:
                self.request(method, target)
            else:
                headers = {"Content-Type": "application/json"}
                self.request(method, target, json.dumps(document).encode(), headers)
            answer = self.getresponse()
            body = answer.read()
        except OSError as error:
            self.close()
            raise EngineTimeoutError(f"{self._name}: {method} {target}: {error}") from error
        except http.client.HTTPException as error:
            self.close()
            raise EngineNotFoundError(
                f"{self._name} does not answer HTTP: {error!r}", "check --runtime and --socket"
            ) from error
        if answer.status // 100 != _SUCCESS:
            missing = answer.status == HTTPStatus.NOT_FOUND
            kind = MissingResourceError if missing else EngineNotFoundError
            raise kind(f"{self._name}: {method} {target}: {answer.status} {_reason(body, answer)}")
        return body


def _reason(body: bytes, answer: http.client.HTTPResponse) -> str:
    """Return dockerd's error message, else the status line's reason."""
    try:
        message = json.loads(body)["message"]
    except (ValueError, TypeError, KeyError):
        return answer.reason
    return " ".join(str(message).split())
