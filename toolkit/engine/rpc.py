"""gRPC over an engine's socket: the one module that imports grpc.

Loading it takes about 0.1 s, so it is imported only once an engine is there to be asked.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Final, Protocol, Self, TypeVar

# Its own log lines on stderr would stand between ours; every error comes back as an exception.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from google.protobuf.message import Message

from toolkit.engine import wait
from toolkit.errors import ToolkitError

Answer = TypeVar("Answer", bound=Message)
_LARGEST: Final = 256 * 1024 * 1024
"""Bytes of one answer: containerd limits what it sends to 16 MiB unless its config says more."""


_SLICE: Final = 0.1
"""Seconds between two looks whether a call has to end."""


class RpcError(ToolkitError):
    """A call that failed, with the cases that a caller treats in their own ways."""

    def __init__(self, method: str, code: grpc.StatusCode, details: str) -> None:
        # An engine passes on all lines of a low-level runtime; a message of ours is one line.
        reason = "; ".join(details.split("\n")).strip("; ") or code.name
        super().__init__(f"{method.strip('/')}: {reason}")
        self.unimplemented = code is grpc.StatusCode.UNIMPLEMENTED
        self.timed_out = code is grpc.StatusCode.DEADLINE_EXCEEDED
        self.not_found = code is grpc.StatusCode.NOT_FOUND


class Caller(Protocol):
    """Makes one call after another over one connection."""

    def call(
        self,
        method: str,
        request: Message,
        answer: type[Answer],
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> Answer:
        """Call ``/package.Service/Method``. Raises RpcError."""


class Connection:
    """One connection to a unix socket, with a deadline for all calls over it."""

    def __init__(self, path: str, deadline: float, check: Callable[[], None] | None = None) -> None:
        """Prepare it; ``path`` is where this process opens the socket.

        ``check`` is called now and then while an answer is waited for; what it raises ends it.
        """
        self._check = check
        self._deadline = max(deadline, time.monotonic() + wait.AT_LEAST)
        self._channel = grpc.insecure_channel(
            f"unix:{path}",
            options=(
                # Go's server refuses the socket's escaped path, which is the default here.
                ("grpc.default_authority", "localhost"),
                ("grpc.enable_http_proxy", 0),
                ("grpc.max_receive_message_length", _LARGEST),
                # A shared connection that failed a moment ago would wait its back-off out first.
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
        answer: type[Answer],
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> Answer:
        """Call ``/package.Service/Method``. Raises RpcError."""
        left = self._deadline - time.monotonic()
        if left <= 0:  # grpc makes a call with no time left all the same, and may be answered
            raise RpcError(method, grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        invoke = self._channel.unary_unary(
            method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        try:
            if self._check is None:
                result: Answer = invoke(request, timeout=left, metadata=metadata)
                return result
            pending = invoke.future(request, timeout=left, metadata=metadata)
            try:
                while True:
                    self._check()
                    with contextlib.suppress(grpc.FutureTimeoutError):
                        result = pending.result(timeout=_SLICE)
                        break
                return result
            finally:
                pending.cancel()
        except grpc.RpcError as error:
            raise RpcError(method, error.code(), error.details() or "") from error
