"""What the plugin costs: the time of an answer and the memory that stays resident."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.nri_process import PluginProcess, plugin_process
from tests.fakes.nri_engine import FakeEngine, creation, devices, nri

MOST_SECONDS = 0.002
MOST_RESIDENT = 24 << 10
MOST_AT_ONCE = MOST_RESIDENT + 4 * (4 << 10)
"""KiB: the largest frame, and the copies that protobuf makes of it while it is read."""
"""KiB."""


@pytest.fixture
def taken_up(tmp_path: Path) -> Iterator[tuple[FakeEngine, PluginProcess]]:
    engine = FakeEngine(tmp_path / "nri.sock")
    with plugin_process(tmp_path, tmp_path / "nri.sock") as plugin:
        engine.take_up()
        yield engine, plugin
    engine.close()


def realistic(annotations: dict[str, str]) -> Any:  # noqa: ANN401 - a message of the dynamic module
    """Return a request as large as a real one: what is not declared is skipped, but travels."""
    request = creation(annotations)
    padding = b"\x42\x40" + b"NAME=" + b"v" * 59  # Container.env, 8
    container = request.container.SerializeToString() + padding * 300
    pod = request.pod.SerializeToString()
    whole = b"\x0a" + _length(pod) + pod + b"\x12" + _length(container) + container
    return nri.CreateContainerRequest.FromString(whole)


def _length(data: bytes) -> bytes:
    size, out = len(data), b""
    while size > 127:
        out, size = out + bytes([size & 127 | 128]), size >> 7
    return out + bytes([size])


def test_a_container_is_answered_in_two_milliseconds_at_fifty_a_second(
    taken_up: tuple[FakeEngine, PluginProcess],
) -> None:
    engine, plugin = taken_up
    asked = realistic({"nvidia.cdi.k8s.io": "nvidia.com/gpu=0,nvidia.com/gpu=1"})
    assert len(asked.SerializeToString()) > 15_000
    seconds = []
    begun = time.monotonic()
    for number in range(250):
        time.sleep(max(0.0, begun + number / 50 - time.monotonic()))
        before = time.perf_counter()
        answer = engine.ask("CreateContainer", asked)
        seconds.append(time.perf_counter() - before)
        assert devices(answer) == ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]
    median, worst = statistics.median(seconds), max(seconds)
    assert median <= MOST_SECONDS, f"median {median}, worst {worst}"
    assert plugin.memory() <= MOST_RESIDENT


def test_the_largest_synchronization_does_not_stay_in_memory(
    taken_up: tuple[FakeEngine, PluginProcess],
) -> None:
    engine, plugin = taken_up
    before = plugin.memory()
    # Pods that fill a frame up to its limit, as an engine with thousands of them sends.
    pods = b"".join(b"\x0a\xe8\x07" + b"\x0a\xe5\x07" + b"x" * 997 for _ in range(4100))
    message = nri.SynchronizeRequest.FromString(pods)
    for more in (True, True, False):
        message.more = more
        answer = nri.SynchronizeResponse.FromString(engine.ask("Synchronize", message).payload)
        assert answer.more is more
    assert plugin.memory("VmHWM") <= MOST_AT_ONCE
    assert plugin.memory() <= before + 1024
