"""NRI's multiplexer: two logical connections over one socket.

A frame is a header of two big-endian 32-bit numbers (connection ID and payload length) and the
payload. The engine uses the socket for nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct

from toolkit.errors import ToolkitError

HEADER = Struct(">II")
MAX_PAYLOAD = 10 + (4 << 20)
"""Bytes: one ttrpc frame of the largest size (NRI, pkg/net/multiplex/ttrpc.go)."""
MAX_WRITE = 4096
"""Maximum payload in a frame that we send: the engine reads into a buffer of this size and closes
the connection if a frame does not fit (NRI, pkg/net/multiplex/mux.go: ENOMEM)."""


class NriProtocolError(ToolkitError):
    """The bytes on the socket are not NRI; the connection cannot continue."""


class Channel(IntEnum):
    """The logical connections; 0 is reserved."""

    PLUGIN = 1
    """The engine calls the plugin."""
    RUNTIME = 2
    """The plugin calls the engine."""


class Demultiplexer:
    """Splits the socket's bytes by connection; buffers no more than an unfinished header."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._connection = 0
        self._left = 0

    def feed(self, data: bytes | memoryview) -> Iterator[tuple[int, memoryview]]:
        """Yield the connection ID and its next bytes; a payload may come in several pieces.

        Raises NriProtocolError on a frame larger than NRI allows.
        """
        view = memoryview(data)
        while view:
            if self._left == 0:
                view = self._take_header(view)
                continue
            piece, view = view[: self._left], view[self._left :]
            self._left -= len(piece)
            yield self._connection, piece

    def _take_header(self, view: memoryview) -> memoryview:
        missing = HEADER.size - len(self._header)
        self._header += view[:missing]
        if len(self._header) == HEADER.size:
            self._connection, self._left = HEADER.unpack(self._header)
            self._header.clear()
            if self._left > MAX_PAYLOAD:
                raise NriProtocolError(
                    f"a frame of {self._left} bytes, where NRI allows {MAX_PAYLOAD}"
                )
        return view[missing:]


def multiplex(connection: Channel, data: bytes) -> bytes:
    """Split the bytes of a logical connection into frames."""
    out = bytearray()
    for start in range(0, len(data), MAX_WRITE):
        piece = data[start : start + MAX_WRITE]
        out += HEADER.pack(connection, len(piece))
        out += piece
    return bytes(out)
