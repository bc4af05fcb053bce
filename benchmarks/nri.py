"""How long a container that is created waits for the NRI plugin."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure, Series
from testbed.nri_engine import FakeEngine, devices, realistic
from testbed.nri_process import plugin_process

SECTION = "nri"
ASKED = {"nvidia.cdi.k8s.io": "nvidia.com/gpu=0,nvidia.com/gpu=1"}
CONTAINERS = 250
A_SECOND = 50
AIM = 2.0
"""Milliseconds that an answer may take by the median."""


def measure(directory: Path) -> list[Figure]:
    """Create containers at a steady pace, each with a request as large as a real one."""
    with tempfile.TemporaryDirectory(dir=directory) as name:  # a noisy run is measured again
        engine = FakeEngine(Path(name, "nri.sock"))
        try:
            with plugin_process(Path(name), Path(name, "nri.sock")):
                engine.register()
                milliseconds = _answers(engine)
        finally:
            engine.close()
    series = Series(name="an answer", unit="ms", values=tuple(milliseconds))
    note = f"{CONTAINERS} containers, {A_SECOND} a second"
    return [Figure(section=SECTION, measured=series, aim=AIM, note=note)]


def _answers(engine: FakeEngine) -> list[float]:
    asked, found = realistic(ASKED), []
    begun = time.monotonic()
    for number in range(CONTAINERS):
        time.sleep(max(0.0, begun + number / A_SECOND - time.monotonic()))
        before = time.perf_counter()
        answer = engine.ask("CreateContainer", asked)
        found.append((time.perf_counter() - before) * 1000)
        if len(devices(answer)) != len(ASKED["nvidia.cdi.k8s.io"].split(",")):
            raise RuntimeError("the plugin did not inject the devices that were asked for")
    return found
