"""For all bytes: what the engine's socket may bring never costs an error, or more than a frame."""

from __future__ import annotations

from itertools import pairwise
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.nri_fuzz import by_mutation, seeds
from tests.property.nri_target import SHAPES, run_session
from toolkit.nri.frames import MAX_DATA, FrameReader, FrameType, frame
from toolkit.nri.multiplexer import Channel, Demultiplexer, multiplex


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut data at the given places."""
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


@settings(max_examples=2000, deadline=None)
@given(st.integers(0, SHAPES - 1), st.binary(max_size=400))
def test_any_bytes_from_the_engine_are_survived(shape: int, body: bytes) -> None:
    run_session(bytes([shape]) + body)


@settings(max_examples=1000, deadline=None)
@given(st.data())
def test_a_valid_conversation_with_some_bytes_changed_is_survived(data: st.DataObject) -> None:
    changed = bytearray(data.draw(st.sampled_from(seeds())))
    for _ in range(data.draw(st.integers(0, 5))):
        position = data.draw(st.integers(0, len(changed)))
        changed[position : position + data.draw(st.integers(0, 4))] = data.draw(
            st.binary(max_size=4)
        )
    run_session(bytes(changed))


@given(
    st.lists(st.tuples(st.sampled_from(Channel), st.binary(max_size=9000))),
    st.lists(st.integers(min_value=0), max_size=8),
)
def test_the_multiplexer_gives_each_connection_its_bytes_wherever_they_are_cut(
    sent: list[tuple[Channel, bytes]], cuts: list[int]
) -> None:
    expected = dict.fromkeys(Channel, b"")
    for connection, data in sent:
        expected[connection] += data
    actual = dict.fromkeys(Channel, b"")
    demultiplexer = Demultiplexer()
    for piece in pieces(b"".join(multiplex(*one) for one in sent), cuts):
        for number, part in demultiplexer.feed(piece):
            actual[Channel(number)] += part
    assert expected == actual


@given(
    st.lists(
        st.tuples(
            st.integers(0, (1 << 32) - 1),
            st.sampled_from(FrameType),
            st.binary(max_size=200) | st.just(bytes(70_000)),
        ),
        max_size=5,
    ),
    st.lists(st.integers(min_value=0), max_size=8),
)
def test_frames_come_out_as_they_went_in_wherever_they_are_cut(
    sent: list[tuple[int, FrameType, bytes]], cuts: list[int]
) -> None:
    reader = FrameReader()
    actual = [
        (one.stream, one.type, bytes(memoryview(one.data)))
        for piece in pieces(b"".join(frame(*one) for one in sent), cuts)
        for one in reader.feed(piece)
    ]
    assert sent == actual
    assert reader.held == 0


@given(st.integers(MAX_DATA + 1, (1 << 32) - 1), st.binary(max_size=500))
def test_a_claim_of_any_size_costs_no_memory(size: int, data: bytes) -> None:
    reader = FrameReader()
    assert list(reader.feed(pack(">IIBB", size, 1, 1, 0) + data)) == []
    assert reader.held == 10


@pytest.mark.long
@pytest.mark.timeout(4000)
def test_an_hour_of_fuzzing_finds_nothing_and_memory_does_not_grow(
    request: pytest.FixtureRequest,
) -> None:
    if "long" not in request.config.getoption("-m"):
        pytest.skip("an hour; runs with -m long")
    assert by_mutation(3600.0, seed=9) > 0
