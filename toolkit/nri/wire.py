"""The protobuf encoding of the few messages that the plugin reads and writes.

The protobuf runtime alone costs 6 MB of memory, a third of what the plugin may take. A message is
a frozen dataclass whose fields say their number; ``encode`` and ``decode`` do the rest. What a
message does not declare is skipped without being read, so that a request with hundreds of mounts
and variables costs as little as a small one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Any, TypeVar

from toolkit.errors import ToolkitError

M = TypeVar("M")

MAX_VARINT_BYTES = 10
_INT64_SIGN = 1 << 63
_UINT64_MASK = (1 << 64) - 1
_LARGEST_NUMBER = (1 << 29) - 1
"""Of a field, by the wire format: a tag has 32 bits."""


class WireError(ToolkitError):
    """Bytes that are not a message."""


class WireType(IntEnum):
    """How a field's value lies in the bytes; groups (3 and 4) are in no NRI message."""

    VARINT = 0
    FIXED64 = 1
    LENGTH = 2
    FIXED32 = 5


class FieldKind(IntEnum):
    """What a field's value means."""

    TEXT = 1
    RAW = 2
    INTEGER = 3
    BOOLEAN = 4
    MESSAGE = 5
    REPEATED = 6
    TEXT_MAP = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSpec:
    """A field as its message declares it."""

    number: int
    kind: FieldKind
    message: type[Any] | None = None
    """The class of a MESSAGE or REPEATED field."""
    wire_name: str = ""
    """The name in the .proto file where it is not the attribute's."""


def text(number: int) -> Any:  # noqa: ANN401 - dataclasses.field takes the type of its attribute
    """Declare a ``string``."""
    return field(default="", metadata={"spec": FieldSpec(number=number, kind=FieldKind.TEXT)})


def raw(number: int) -> Any:  # noqa: ANN401 - as above
    """Declare a ``bytes``; decoded as a view of the input, not a copy."""
    return field(default=b"", metadata={"spec": FieldSpec(number=number, kind=FieldKind.RAW)})


def integer(number: int) -> Any:  # noqa: ANN401 - as above
    """Declare an ``int32`` or ``int64``."""
    return field(default=0, metadata={"spec": FieldSpec(number=number, kind=FieldKind.INTEGER)})


def boolean(number: int) -> Any:  # noqa: ANN401 - as above
    """Declare a ``bool``."""
    return field(default=False, metadata={"spec": FieldSpec(number=number, kind=FieldKind.BOOLEAN)})


def message(number: int, cls: type[Any]) -> Any:  # noqa: ANN401 - as above
    """Declare a message; None where it is absent."""
    spec = FieldSpec(number=number, kind=FieldKind.MESSAGE, message=cls)
    return field(default=None, metadata={"spec": spec})


def repeated(number: int, cls: type[Any], *, wire_name: str = "") -> Any:  # noqa: ANN401 - as above
    """Declare a list of messages."""
    spec = FieldSpec(number=number, kind=FieldKind.REPEATED, message=cls, wire_name=wire_name)
    return field(default=(), metadata={"spec": spec})


def text_map(number: int) -> Any:  # noqa: ANN401 - as above
    """Declare a ``map<string, string>``."""
    spec = FieldSpec(number=number, kind=FieldKind.TEXT_MAP)
    return field(default_factory=dict, metadata={"spec": spec})


_SPECS: dict[type[Any], Mapping[str, FieldSpec]] = {}
_BY_NUMBER: dict[type[Any], Mapping[int, tuple[str, FieldSpec]]] = {}


def specs(cls: type[Any]) -> Mapping[str, FieldSpec]:
    """Return a message's fields by attribute name."""
    if cls not in _SPECS:
        _SPECS[cls] = {entry.name: entry.metadata["spec"] for entry in fields(cls)}
    return _SPECS[cls]


def _by_number(cls: type[Any]) -> Mapping[int, tuple[str, FieldSpec]]:
    if cls not in _BY_NUMBER:
        _BY_NUMBER[cls] = {spec.number: (name, spec) for name, spec in specs(cls).items()}
    return _BY_NUMBER[cls]


_TEXT_WIRE = {FieldKind.INTEGER: WireType.VARINT, FieldKind.BOOLEAN: WireType.VARINT}


def decode(cls: type[M], data: bytes | bytearray | memoryview) -> M:
    """Read a message; of a field that is set twice the later value counts.

    Raises WireError where the bytes are not a message of that class.
    """
    known = _by_number(cls)
    values: dict[str, Any] = {}
    for number, wire_type, value in read_fields(memoryview(data)):
        name, spec = known.get(number, (None, None))
        # A field with another wire type than the declared one is an unknown field.
        if spec is None or name is None or wire_type is not _TEXT_WIRE.get(spec.kind, _LENGTH):
            continue
        _take(values, name, spec, value)
    lists = {name: tuple(found) for name, found in values.items() if isinstance(found, list)}
    return cls(**{**values, **lists})


_LENGTH = WireType.LENGTH


def _take(values: dict[str, Any], name: str, spec: FieldSpec, value: Any) -> None:  # noqa: ANN401 - an int or a view, by the wire type
    match spec.kind:
        case FieldKind.TEXT:
            values[name] = _utf8(value)
        case FieldKind.RAW:
            values[name] = value
        case FieldKind.INTEGER:
            values[name] = value - (1 << 64) if value & _INT64_SIGN else value
        case FieldKind.BOOLEAN:
            values[name] = value != 0
        case FieldKind.MESSAGE:
            values[name] = decode(_class_of(spec), value)
        case FieldKind.REPEATED:
            values.setdefault(name, []).append(decode(_class_of(spec), value))
        case FieldKind.TEXT_MAP:
            entry = decode(_MapEntry, value)
            values.setdefault(name, {})[entry.key] = entry.value


def _class_of(spec: FieldSpec) -> type[Any]:
    assert spec.message is not None  # noqa: S101 - message() and repeated() always set it
    return spec.message


def _utf8(value: memoryview) -> str:
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        raise WireError("a text in the message is not UTF-8") from error


def read_fields(view: memoryview) -> Iterator[tuple[int, WireType, Any]]:
    """Go through the fields of a message: number, wire type, and an int or a view of the bytes.

    Raises WireError where the bytes are cut off or are not a message.
    """
    position, end = 0, len(view)
    while position < end:
        tag, position = _read_varint(view, position)
        number, code = tag >> 3, tag & 7
        if not 0 < number <= _LARGEST_NUMBER:
            raise WireError(f"a field with the number {number}")
        if code == WireType.LENGTH:
            size, position = _read_varint(view, position)
            position = _step(position, size, end)
            yield number, WireType.LENGTH, view[position - size : position]
        elif code == WireType.VARINT:
            value, position = _read_varint(view, position)
            yield number, WireType.VARINT, value
        elif code in (WireType.FIXED32, WireType.FIXED64):
            size = 4 if code == WireType.FIXED32 else 8
            position = _step(position, size, end)
            yield number, WireType(code), view[position - size : position]
        else:
            raise WireError(f"field {number} has the unknown wire type {code}")


def _step(position: int, size: int, end: int) -> int:
    if size > end - position:
        raise WireError(f"a field of {size} bytes where {end - position} are left")
    return position + size


def _read_varint(view: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(view[position : position + MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return value & _UINT64_MASK, position + index + 1
    raise WireError("a number that does not end")


def encode(value: object) -> bytes:
    """Write a message; fields with their default value are left out, as proto3 does."""
    out = bytearray()
    for name, spec in specs(type(value)).items():
        _put(out, spec, getattr(value, name))
    return bytes(out)


def _put(out: bytearray, spec: FieldSpec, value: Any) -> None:  # noqa: ANN401 - by the field's kind
    if not value:
        return
    match spec.kind:
        case FieldKind.INTEGER | FieldKind.BOOLEAN:
            out += varint(spec.number << 3 | WireType.VARINT)
            out += varint(int(value) & _UINT64_MASK)
        case FieldKind.TEXT:
            _put_length(out, spec.number, value.encode())
        case FieldKind.RAW:
            _put_length(out, spec.number, value)
        case FieldKind.MESSAGE:
            _put_length(out, spec.number, encode(value))
        case FieldKind.REPEATED:
            for item in value:
                _put_length(out, spec.number, encode(item))
        case FieldKind.TEXT_MAP:
            for key, content in value.items():
                _put_length(out, spec.number, encode(_MapEntry(key=key, value=content)))


def _put_length(out: bytearray, number: int, data: bytes | memoryview) -> None:
    out += varint(number << 3 | WireType.LENGTH)
    out += varint(len(data))
    out += data


def varint(value: int) -> bytes:
    """Write a number from 0 to 2^64-1, seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - what fits a byte without the continuation bit
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


@dataclass(frozen=True, slots=True, kw_only=True)
class _MapEntry:
    """What a map is on the wire: a list of these."""

    key: str = text(1)
    value: str = text(2)
