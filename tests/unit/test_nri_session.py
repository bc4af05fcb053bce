from __future__ import annotations

from typing import Any

import pytest

from testbed.nri_engine import (
    PLUGIN,
    REQUEST,
    RESPONSE,
    RUNTIME,
    call,
    creation,
    devices,
    framed,
    messages,
    muxed,
    nri,
    ttrpc,
)
from tests.property.nri_target import held
from toolkit.nri.frames import MAX_DATA
from toolkit.nri.multiplexer import MAX_WRITE, NriProtocolError
from toolkit.nri.session import Session
from toolkit.nri.ttrpc import MAX_OPEN_CALLS

INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED = 3, 8, 12


class Conversation:
    """A session, and what it said."""

    def __init__(self, index: int = 10) -> None:
        self.errors: list[str] = []
        self.session = Session(index, self.errors.append)

    def said(self) -> list[tuple[int, int, int, Any]]:
        data = bytes(self.session.outgoing)
        self.session.outgoing.clear()
        return messages(data)

    def answers(self, data: bytes) -> list[tuple[int, Any]]:
        """Feed it and return the answers on the plugin's connection: stream and envelope."""
        self.said()
        self.session.receive(data)
        return [(stream, envelope) for _, stream, _, envelope in self.said()]


@pytest.fixture
def talk() -> Conversation:
    return Conversation()


@pytest.mark.parametrize(("index", "expected"), [(0, "00"), (7, "07"), (10, "10"), (99, "99")])
def test_the_first_word_is_the_registration_with_two_digits(index: int, expected: str) -> None:
    ((connection, stream, kind, request),) = Conversation(index).said()
    assert (connection, stream, kind) == (RUNTIME, 1, REQUEST)
    assert request.service == "nri.pkg.api.v1alpha1.Runtime"
    assert request.method == "RegisterPlugin"
    registration = nri.RegisterPluginRequest.FromString(request.payload)
    assert registration.plugin_name == "nvidia-toolkit"
    assert registration.plugin_idx == expected


def test_the_plugin_is_registered_when_it_was_accepted_and_synchronized(talk: Conversation) -> None:
    talk.session.receive(muxed(RUNTIME, framed(1, RESPONSE, b"")))
    assert not talk.session.registered
    ((_, configured),) = talk.answers(
        call(1, "Configure", nri.ConfigureRequest(runtime_name="containerd", request_timeout=1500))
    )
    assert nri.ConfigureResponse.FromString(configured.payload).events == 8
    assert talk.session.engine is not None
    assert talk.session.engine.request_timeout == 1500
    assert not talk.session.registered
    for stream, more in ((3, True), (5, True), (7, False)):
        ((_, answer),) = talk.answers(
            call(stream, "Synchronize", nri.SynchronizeRequest(more=more))
        )
        assert nri.SynchronizeResponse.FromString(answer.payload).more is more
        assert talk.session.registered is not more


def test_the_order_of_configuration_and_acceptance_does_not_matter(talk: Conversation) -> None:
    talk.answers(call(1, "Configure", nri.ConfigureRequest()))
    talk.answers(call(3, "Synchronize", nri.SynchronizeRequest()))
    assert not talk.session.registered
    talk.session.receive(muxed(RUNTIME, framed(1, RESPONSE, b"")))
    assert talk.session.registered


def test_a_refused_registration_ends_the_connection_with_the_engines_words(
    talk: Conversation,
) -> None:
    status = ttrpc.Status(code=2, message="invalid plugin index")
    refusal = ttrpc.Response(status=status).SerializeToString()
    with pytest.raises(NriProtocolError, match="invalid plugin index"):
        talk.session.receive(muxed(RUNTIME, framed(1, RESPONSE, refusal)))


def test_bytes_may_come_one_by_one(talk: Conversation) -> None:
    data = call(1, "CreateContainer", creation({"nvidia.cdi.k8s.io": "a/b=c"}))
    found = [found for byte in data for found in talk.session.receive(bytes([byte]))]
    assert [one.stream for one in found] == [1]
    pod = found[0].request.pod
    assert pod is not None
    assert pod.annotations == {"nvidia.cdi.k8s.io": "a/b=c"}


def test_a_request_in_many_small_frames_is_put_together(talk: Conversation) -> None:
    data = framed(
        1, REQUEST, messages(call(1, "CreateContainer", creation()))[0][3].SerializeToString()
    )
    for start in range(0, len(data), 7):
        found = talk.session.receive(muxed(PLUGIN, data[start : start + 7]))
    assert len(found) == 1


def test_devices_are_in_the_answer_and_none_is_an_empty_answer(talk: Conversation) -> None:
    talk.said()
    talk.session.receive(call(1, "CreateContainer", creation()))
    talk.session.receive(call(3, "CreateContainer", creation()))
    talk.session.answer(3, ("a/b=c", "a/b=d"))
    talk.session.answer(1, ())
    (_, first, _, with_devices), (_, second, _, without) = talk.said()
    assert (first, second) == (3, 1)
    assert devices(with_devices) == ["a/b=c", "a/b=d"]
    assert without.payload == b""
    talk.session.answer(1, ("a/b=c",))
    assert talk.said() == []


def test_a_large_answer_goes_out_in_frames_that_the_engine_can_read(talk: Conversation) -> None:
    talk.said()
    talk.session.receive(call(1, "CreateContainer", creation()))
    names = [f"vendor.com/gpu=device-{number:05d}" for number in range(3000)]
    talk.session.answer(1, names)
    data = bytes(talk.session.outgoing)
    ((_, _, _, envelope),) = talk.said()
    assert devices(envelope) == names
    position, sizes = 0, []
    while position < len(data):
        sizes.append(int.from_bytes(data[position + 4 : position + 8], "big"))
        position += 8 + sizes[-1]
    assert max(sizes) == MAX_WRITE


def test_an_unreadable_container_is_created_without_devices(talk: Conversation) -> None:
    request = ttrpc.Request(
        service="nri.pkg.api.v1alpha1.Plugin", method="CreateContainer", payload=b"\x0a\x7f"
    )
    data = muxed(PLUGIN, framed(1, REQUEST, request.SerializeToString()))
    ((_, answer),) = talk.answers(data)
    assert answer == ttrpc.Response()
    assert len(talk.errors) == 1


@pytest.mark.parametrize(
    "method",
    [
        *("Shutdown", "StateChange", "StopContainer", "UpdateContainer", "RunPodSandbox"),
        *("RemoveContainer", "PostCreateContainer", "ValidateContainerAdjustment"),
    ],
)
def test_a_call_that_asks_for_nothing_of_ours_is_answered_politely(
    talk: Conversation, method: str
) -> None:
    ((_, answer),) = talk.answers(call(1, method))
    assert answer == ttrpc.Response()


def test_an_unknown_method_or_service_is_unimplemented(talk: Conversation) -> None:
    ((_, answer),) = talk.answers(call(1, "Dance"))
    assert answer.status.code == UNIMPLEMENTED
    request = ttrpc.Request(service="other.Service", method="CreateContainer")
    ((_, answer),) = talk.answers(muxed(PLUGIN, framed(3, REQUEST, request.SerializeToString())))
    assert answer.status.code == UNIMPLEMENTED


@pytest.mark.parametrize("method", ["Configure", "Synchronize"])
def test_an_unreadable_call_is_an_invalid_argument(talk: Conversation, method: str) -> None:
    request = ttrpc.Request(
        service="nri.pkg.api.v1alpha1.Plugin", method=method, payload=b"\x0a\x7f"
    )
    ((_, answer),) = talk.answers(muxed(PLUGIN, framed(1, REQUEST, request.SerializeToString())))
    assert answer.status.code == INVALID_ARGUMENT


@pytest.mark.parametrize("stream", [0, 2, 3])
def test_streams_are_odd_and_increase(talk: Conversation, stream: int) -> None:
    talk.answers(call(3, "StateChange"))
    ((answered, answer),) = talk.answers(call(stream, "StateChange"))
    assert (answered, answer.status.code) == (stream, INVALID_ARGUMENT)


def test_bytes_that_are_no_request_are_an_invalid_argument(talk: Conversation) -> None:
    ((stream, answer),) = talk.answers(muxed(PLUGIN, framed(1, REQUEST, b"\xff")))
    assert (stream, answer.status.code) == (1, INVALID_ARGUMENT)


def test_stream_data_is_refused_and_unknown_frames_are_ignored(talk: Conversation) -> None:
    ((_, answer),) = talk.answers(muxed(PLUGIN, framed(1, 3, b"data")))
    assert answer.status.code == INVALID_ARGUMENT
    assert talk.answers(muxed(PLUGIN, framed(1, 9, b"later version"))) == []
    assert talk.answers(muxed(PLUGIN, framed(1, RESPONSE, b"nobody asked"))) == []


def test_other_connections_and_answers_that_nobody_waits_for_are_ignored(
    talk: Conversation,
) -> None:
    talk.session.receive(muxed(0, b"abc") + muxed(77, b"x" * 5000))
    talk.session.receive(muxed(RUNTIME, framed(5, RESPONSE, b"\xff")))
    talk.session.receive(muxed(RUNTIME, framed(1, REQUEST, b"\xff")))
    assert not talk.session.registered
    assert len(talk.session.receive(call(1, "CreateContainer", creation()))) == 1


def test_a_message_that_is_too_large_is_skipped_and_the_next_one_read(talk: Conversation) -> None:
    header = framed(1, REQUEST, b"")[4:10]
    size = MAX_DATA + 100
    talk.said()
    talk.session.receive(muxed(PLUGIN, size.to_bytes(4, "big") + header))
    for _ in range(4):
        talk.session.receive(muxed(PLUGIN, bytes(1 << 20)))
        assert held(talk.session) < 100
    talk.session.receive(muxed(PLUGIN, bytes(100)))
    ((_, stream, _, answer),) = talk.said()
    assert (stream, answer.status.code) == (1, RESOURCE_EXHAUSTED)
    assert len(talk.session.receive(call(3, "CreateContainer", creation()))) == 1


def test_the_largest_message_is_read(talk: Conversation) -> None:
    pods = [nri.PodSandbox(id="x" * 1000) for _ in range(4000)]
    synchronize = ttrpc.Request(
        service="nri.pkg.api.v1alpha1.Plugin",
        method="Synchronize",
        payload=b"".join(b"\x0a" + b"\xeb\x07" + pod.SerializeToString() for pod in pods),
    )
    data = framed(1, REQUEST, synchronize.SerializeToString())
    assert MAX_DATA * 0.9 < len(data) < MAX_DATA
    ((_, answer),) = talk.answers(muxed(PLUGIN, data))
    assert answer.status.code == 0


def test_a_frame_that_is_larger_than_nri_allows_ends_the_connection(talk: Conversation) -> None:
    with pytest.raises(NriProtocolError, match="4194315"):
        talk.session.receive(b"\0\0\0\1" + (MAX_DATA + 11).to_bytes(4, "big"))


def test_too_many_open_containers_are_created_without_devices(talk: Conversation) -> None:
    talk.said()
    found = [
        one
        for stream in range(1, 2 * MAX_OPEN_CALLS + 20, 2)
        for one in talk.session.receive(call(stream, "CreateContainer", creation()))
    ]
    assert len(found) == MAX_OPEN_CALLS
    assert all(answer == ttrpc.Response() for _, _, _, answer in talk.said())
    assert len(talk.errors) == 10


def test_an_engine_that_never_reads_is_given_up(talk: Conversation) -> None:
    calls = b"".join(call(stream, "Dance") for stream in range(1, 40_000, 2))
    with pytest.raises(NriProtocolError, match="does not read"):
        talk.session.receive(calls)
    assert held(talk.session) <= 1 << 20
