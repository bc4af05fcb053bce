"""ttrpc over one logical connection: the engine's calls with our answers, and a call of our own.

Unary calls only, as NRI makes them. A peer's mistake is answered with a status where the protocol
has one, and never costs more memory than one frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from toolkit.errors import ToolkitError
from toolkit.nri.frames import FrameReader, FrameType, frame
from toolkit.nri.protos.ttrpc_pb2 import Request, Response, Status

MAX_OPEN_CALLS = 64
"""Maximum number of calls that wait for our answer. The engine sends one creation at a time; a peer
that sends more without waiting gets a busy status."""

M = TypeVar("M", bound=Message)


class Code(IntEnum):
    """The gRPC status codes in use."""

    OK = 0
    INVALID_ARGUMENT = 3
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12


class MessageError(ToolkitError):
    """Bytes that are not a valid message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that needs exactly one answer.

    Not protobuf's own message: the memory of a large one would stay with the process.
    """

    stream: int
    service: str
    method: str
    payload: bytes


class ServerSide:
    """The connection on which the engine calls us."""

    def __init__(self) -> None:
        self.frames = FrameReader()
        self._last_stream = 0
        self._open: set[int] = set()
        self._refusals = bytearray()

    @property
    def open_calls(self) -> int:
        """Number of calls that wait for our answer."""
        return len(self._open)

    def feed(self, piece: bytes | memoryview) -> Iterator[Call]:
        """Yield each call that the piece completes; ``refusals`` answers the refused ones."""
        for received in self.frames.feed(piece):
            if received.oversized:
                self._refuse(received.stream, Code.RESOURCE_EXHAUSTED, "message too large")
            elif received.type == FrameType.DATA:
                self._refuse(received.stream, Code.INVALID_ARGUMENT, "no such stream")
            elif received.type == FrameType.REQUEST:
                call = self._request(received.stream, memoryview(received.data))
                if call is not None:
                    yield call

    def _request(self, stream: int, data: memoryview) -> Call | None:
        if stream % 2 == 0 or stream <= self._last_stream:
            self._refuse(stream, Code.INVALID_ARGUMENT, "stream ids are odd and increase")
            return None
        self._last_stream = stream
        try:
            request = decode(Request, data)
        except MessageError as error:
            self._refuse(stream, Code.INVALID_ARGUMENT, error.message)
            return None
        self._open.add(stream)
        return Call(
            stream=stream,
            service=request.service,
            method=request.method,
            payload=request.payload,
        )

    @property
    def busy(self) -> bool:
        """Whether more calls are open than allowed."""
        return len(self._open) > MAX_OPEN_CALLS

    def _refuse(self, stream: int, code: Code, reason: str) -> None:
        answer = Response(status=Status(code=code, message=reason))
        self._refusals += frame(stream, FrameType.RESPONSE, answer.SerializeToString())

    def refusals(self) -> bytes:
        """Return and clear the answers to refused calls."""
        taken, self._refusals = bytes(self._refusals), bytearray()
        return taken

    def answer(self, stream: int, message: Message) -> bytes:
        """Answer a call; return nothing for a stream that is already answered."""
        return self._close(stream, Response(payload=message.SerializeToString()))

    def fail(self, stream: int, code: Code, reason: str) -> bytes:
        """Answer a call with an error."""
        return self._close(stream, Response(status=Status(code=code, message=reason)))

    def _close(self, stream: int, response: Response) -> bytes:
        if stream not in self._open:
            return b""
        self._open.discard(stream)
        return frame(stream, FrameType.RESPONSE, response.SerializeToString())


def call_frame(stream: int, service: str, method: str, message: Message) -> bytes:
    """Return the frame of a call of ours; streams of a client are odd and increase."""
    request = Request(service=service, method=method, payload=message.SerializeToString())
    return frame(stream, FrameType.REQUEST, request.SerializeToString())


def decode(kind: type[M], data: bytes | memoryview) -> M:
    """Decode a message. Raises MessageError."""
    message = kind()
    try:
        message.ParseFromString(data)  # type: ignore[arg-type] # takes memory views too
    except DecodeError as error:
        raise MessageError(f"not a {kind.DESCRIPTOR.name}: {error}") from error
    return message
