"""The message classes against the .proto files and against the protobuf runtime."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.nri_engine import nri, ttrpc
from toolkit.nri import messages
from toolkit.nri.wire import FieldKind, WireError, decode, encode, specs

TTRPC = ("Request", "Response", "Status")
NRI = (
    *("RegisterPluginRequest", "ConfigureRequest", "ConfigureResponse", "SynchronizeRequest"),
    *("SynchronizeResponse", "CreateContainerRequest", "CreateContainerResponse", "PodSandbox"),
    *("Container", "ContainerAdjustment", "CDIDevice"),
)


def kind_of(field: Any) -> FieldKind:  # noqa: ANN401 - protobuf types no descriptor
    if field.message_type is not None:
        if field.message_type.GetOptions().map_entry:
            return FieldKind.TEXT_MAP
        return FieldKind.REPEATED if field.is_repeated else FieldKind.MESSAGE
    return {
        field.TYPE_STRING: FieldKind.TEXT,
        field.TYPE_BYTES: FieldKind.RAW,
        field.TYPE_INT32: FieldKind.INTEGER,
        field.TYPE_INT64: FieldKind.INTEGER,
        field.TYPE_BOOL: FieldKind.BOOLEAN,
    }[field.type]


@pytest.mark.parametrize(
    ("package", "name"), [(ttrpc, name) for name in TTRPC] + [(nri, name) for name in NRI]
)
def test_a_message_has_the_names_the_numbers_and_the_types_of_its_proto_file(
    package: Any,  # noqa: ANN401 - a dynamic module
    name: str,
) -> None:
    declared = getattr(package, name).DESCRIPTOR
    expected = {
        field.name: (
            field.number,
            kind_of(field),
            field.message_type.name
            if kind_of(field) in (FieldKind.MESSAGE, FieldKind.REPEATED)
            else None,
        )
        for field in declared.fields
    }
    actual = {
        spec.wire_name or attribute: (
            spec.number,
            spec.kind,
            spec.message.__name__ if spec.message is not None else None,
        )
        for attribute, spec in specs(getattr(messages, name)).items()
    }
    assert expected == actual


def test_every_message_of_the_proto_files_has_a_class() -> None:
    assert set(ttrpc.DESCRIPTOR.message_types_by_name) == set(TTRPC)
    assert set(nri.DESCRIPTOR.message_types_by_name) == {*NRI, "Empty"}


def test_services_and_events_are_named_as_in_the_proto_file() -> None:
    services = nri.DESCRIPTOR.services_by_name
    assert services["Runtime"].full_name == messages.RUNTIME_SERVICE
    assert services["Plugin"].full_name == messages.PLUGIN_SERVICE
    assert nri.Event.Value("CREATE_CONTAINER") == messages.Event.CREATE_CONTAINER
    assert messages.Event.CREATE_CONTAINER.mask == 8


def test_what_a_message_does_not_declare_is_skipped() -> None:
    pod = nri.PodSandbox(id="1", name="pod", namespace="ns").SerializeToString()
    # 9: pid, a number; 10: ips, a text; 15 and 16: of eight and four bytes.
    more = b"\x48\x2a" + b"\x52\x03abc" + b"\x79" + bytes(8) + b"\x85\x01" + bytes(4)
    assert decode(messages.PodSandbox, more + pod + more).name == "pod"


def test_a_field_of_another_wire_type_is_skipped() -> None:
    assert decode(messages.PodSandbox, b"\x08\x01").id == ""
    assert decode(messages.ConfigureRequest, b"\x22\x01x").registration_timeout == 0


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a",
        b"\x0a\x05abc",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x02\x00",
        b"\x0b",
        b"\x0c",
        b"\x0f",
        b"\x80",
        b"\xff" * 11,
        b"\x0a\x01\xff",
        b"\x09\x00",
        b"\x32\x02\x0a\x05",
    ],
)
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(messages.PodSandbox, data)


def test_numbers_below_zero_are_read_and_written() -> None:
    message = messages.ConfigureRequest(registration_timeout=-5, request_timeout=-(1 << 63))
    expected = nri.ConfigureRequest(registration_timeout=-5, request_timeout=-(1 << 63))
    assert encode(message) == expected.SerializeToString()
    assert decode(messages.ConfigureRequest, encode(message)) == message
