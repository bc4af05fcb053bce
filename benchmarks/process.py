"""The process alone: setup, second setup and revert without an engine, restart mode none."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.disk import copied_durably, empty
from benchmarks.figures import Figure, Series
from benchmarks.subject import Place, Subject

SECTION = "process alone"
ROUNDS = 11
MILLI = 1000.0


def measure(directory: Path, payload: Path, subjects: tuple[Subject, ...]) -> list[Figure]:
    """Measure each subject in turn, round by round, so that a slow moment meets all of them."""
    times: dict[str, list[float]] = {}

    def note(name: str, seconds: float) -> None:
        times.setdefault(name, []).append(seconds * MILLI)

    for number in range(ROUNDS + 1):
        for subject in subjects:
            found = _round(
                Place(directory=directory / subject.name, payload=payload, subject=subject)
            )
            if number:  # the first round warms caches and compiles
                for name, seconds in found.items():
                    note(f"{subject.name} {name}", seconds)
        empty(directory / "copy")
        if number:
            note("copy", copied_durably(payload, directory / "copy"))
            note("interpreter", _bare_interpreter())
    return _figures({name: tuple(values) for name, values in times.items()})


def _round(place: Place) -> dict[str, float]:
    empty(place.directory)
    place.write_config()
    found = {"cold": place.set_up(), "second": place.set_up()}
    if place.subject.ours:
        found["command"] = place.run("revert", "--purge")
    empty(place.directory)
    place.write_config()
    process = place.daemon()
    found["revert"] = place.stop(process)
    return found


def _bare_interpreter() -> float:
    began = time.perf_counter()
    subprocess.run((sys.executable, "-c", "pass"), check=True)
    return time.perf_counter() - began


def _figures(times: dict[str, tuple[float, ...]]) -> list[Figure]:
    copy = Series(name="cp -a + fsync", unit="ms", values=times["copy"])
    bare = Series(name="python -c pass", unit="ms", values=times["interpreter"])
    rows = (
        ("cold", "setup into an empty directory, 52 MB", copy, 150.0),
        ("second", "second setup, nothing changed", bare, 100.0),
        ("revert", "SIGTERM to exit, daemon idle before", bare, None),
        ("command", "revert as a command of its own", bare, None),
    )
    figures = []
    for key, name, baseline, aim in rows:
        peer = times.get(f"peer {key}")
        figures.append(
            Figure(
                section=SECTION,
                measured=Series(name=name, unit="ms", values=times[f"ours {key}"]),
                baseline=baseline,
                peer=None if peer is None else Series(name=name, unit="ms", values=peer),
                aim=aim,
            )
        )
    return figures
