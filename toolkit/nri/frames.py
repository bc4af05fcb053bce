"""ttrpc frames: a header of ten bytes and up to 4 MiB of data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from mmap import mmap
from struct import Struct

HEADER = Struct(">IIBB")
MAX_DATA = 4 << 20
"""Bytes of data in a frame (ttrpc, channel.go)."""
LARGE = 64 << 10
"""Size in bytes from which data gets its own memory pages. They return to the system with the
frame; the allocator would keep megabytes after one synchronization of a busy node."""


class FrameType(IntEnum):
    """The type of a frame. Unknown types are ignored: later versions may add some."""

    REQUEST = 1
    RESPONSE = 2
    DATA = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame of a call."""

    stream: int
    type: int
    """A FrameType, or an unknown one."""
    data: bytes | bytearray | mmap
    oversized: bool = False
    """The data was larger than allowed and was skipped."""


class FrameReader:
    """Assembles frames from pieces; buffers at most one unfinished frame."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._stream = 0
        self._type = 0
        self._data: bytearray | mmap = bytearray()
        self._filled = 0
        self._left = 0
        self._oversized = False

    @property
    def held(self) -> int:
        """Bytes buffered of the unfinished frame."""
        return len(self._header) + self._filled

    def feed(self, piece: bytes | memoryview) -> Iterator[Frame]:
        """Yield each frame that the piece completes."""
        view = memoryview(piece)
        while view:
            if len(self._header) < HEADER.size:
                missing = HEADER.size - len(self._header)
                self._header += view[:missing]
                view = view[missing:]
                if len(self._header) < HEADER.size:
                    return
                self._begin()
            part, view = view[: self._left], view[self._left :]
            self._left -= len(part)
            if not self._oversized:
                self._data[self._filled : self._filled + len(part)] = part
                self._filled += len(part)
            if self._left == 0:
                yield self._complete()

    def _begin(self) -> None:
        self._left, self._stream, self._type, _flags = HEADER.unpack(self._header)
        self._oversized = self._left > MAX_DATA
        if not self._oversized:
            self._data = bytearray(self._left) if self._left < LARGE else mmap(-1, self._left)

    def _complete(self) -> Frame:
        data, self._data = self._data, bytearray()
        self._filled = 0
        self._header.clear()
        return Frame(stream=self._stream, type=self._type, data=data, oversized=self._oversized)


def frame(stream: int, frame_type: FrameType, data: bytes) -> bytes:
    """Return one frame of a unary call."""
    return HEADER.pack(len(data), stream, frame_type, 0) + data
