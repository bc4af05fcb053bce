"""The memory of the plugin; the time of an answer is a figure of `make bench`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.nri_engine import FakeEngine, devices, nri, realistic
from testbed.nri_process import PluginProcess, plugin_process

MOST_RESIDENT = 24 << 10
"""KiB."""
MOST_AT_ONCE = MOST_RESIDENT + 4 * (4 << 10)
"""KiB: the largest frame, and the copies that protobuf makes of it while it is read."""


@pytest.fixture
def taken_up(tmp_path: Path) -> Iterator[tuple[FakeEngine, PluginProcess]]:
    engine = FakeEngine(tmp_path / "nri.sock")
    with plugin_process(tmp_path, tmp_path / "nri.sock") as plugin:
        engine.register()
        yield engine, plugin
    engine.close()


def test_many_containers_are_answered_and_leave_nothing_in_memory(
    taken_up: tuple[FakeEngine, PluginProcess],
) -> None:
    engine, plugin = taken_up
    asked = realistic({"nvidia.cdi.k8s.io": "nvidia.com/gpu=0,nvidia.com/gpu=1"})
    assert len(asked.SerializeToString()) > 15_000
    for _ in range(250):
        answer = engine.ask("CreateContainer", asked)
        assert devices(answer) == ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]
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
