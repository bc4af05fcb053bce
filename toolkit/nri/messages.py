"""The messages of ttrpc and NRI: services, status codes, events and decoding."""

from __future__ import annotations

from enum import IntEnum
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from toolkit.errors import ToolkitError
from toolkit.nri.protos.nri_pb2 import CREATE_CONTAINER

M = TypeVar("M", bound=Message)

RUNTIME_SERVICE = "nri.pkg.api.v1alpha1.Runtime"
PLUGIN_SERVICE = "nri.pkg.api.v1alpha1.Plugin"
CREATE_CONTAINER_MASK = 1 << (CREATE_CONTAINER - 1)
"""The event's bit in the Configure response."""


class Code(IntEnum):
    """The gRPC status codes in use."""

    OK = 0
    INVALID_ARGUMENT = 3
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12


class MessageError(ToolkitError):
    """Bytes that are not a valid message."""


def decode(kind: type[M], data: bytes | memoryview) -> M:
    """Decode a message. Raises MessageError."""
    message = kind()
    try:
        message.ParseFromString(data)  # type: ignore[arg-type] # takes memory views too
    except DecodeError as error:
        raise MessageError(f"not a {kind.DESCRIPTOR.name}: {error}") from error
    return message
