"""gRPC over an engine's socket: the one module that imports grpc.

Loading it takes about 0.1 s, so it is imported only when there is an engine to ask.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Final, Self, TypeVar

# grpc's own log lines on stderr would mix with ours; every error is raised as an exception.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from google.protobuf.message import Message

from toolkit.engine import wait
from toolkit.errors import ToolkitError
from toolkit.host.clock import UninterruptedClock

Response = TypeVar("Response", bound=Message)
_LARGEST: Final = 256 * 1024 * 1024
"""Bytes of one response: containerd limits its own to 16 MiB unless its config says more."""


class RpcError(ToolkitError):
    """A failed call, with the cases that callers treat differently."""

    def __init__(self, method: str, code: grpc.StatusCode, details: str) -> None:
        # An engine passes on all lines of a low-level runtime; our messages are one line.
        reason = "; ".join(details.split("\n")).strip("; ") or code.name
        super().__init__(f"{method.strip('/')}: {reason}")
        self.unimplemented = code is grpc.StatusCode.UNIMPLEMENTED
        self.timed_out = code is grpc.StatusCode.DEADLINE_EXCEEDED
        self.not_found = code is grpc.StatusCode.NOT_FOUND


class Connection:
    """One connection to a unix socket, with a deadline for all calls over it."""

    def __init__(self, path: str, deadline: float, check: Callable[[], None] | None = None) -> None:
        """Prepare the connection; ``path`` is where this process opens the socket.

        ``check`` is called now and then during a call; an exception of it ends the call.
        """
        self._check = check
        self._deadline = UninterruptedClock().now() + wait.left(deadline)
        self._channel = grpc.insecure_channel(
            f"unix:{path}",
            options=(
                # Go's server rejects the escaped path of the socket, which is grpc's default.
                ("grpc.default_authority", "localhost"),
                ("grpc.enable_http_proxy", 0),
                ("grpc.max_receive_message_length", _LARGEST),
                # A shared connection that has just failed would first wait for its back-off.
                ("grpc.use_local_subchannel_pool", 1),
            ),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def call(
        self,
        method: str,
        request: Message,
        response: type[Response],
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> Response:
        """Call ``/package.Service/Method``. Raises RpcError."""
        left = self._deadline - UninterruptedClock().now()
        if left <= 0:  # grpc makes a call even with no time left, and may be answered
            raise RpcError(method, grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        invoke = self._channel.unary_unary(
            method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        try:
            if self._check is None:
                result: Response = invoke(request, timeout=left, metadata=metadata)
                return result
            pending = invoke.future(request, timeout=left, metadata=metadata)
            try:
                while True:
                    self._check()
                    with contextlib.suppress(grpc.FutureTimeoutError):
                        result = pending.result(timeout=wait.CHECK_SECONDS)
                        break
                return result
            finally:
                pending.cancel()
        except grpc.RpcError as error:
            raise RpcError(method, error.code(), error.details() or "") from error
