"""The process alone: setup, second setup and revert without an engine, restart mode none."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.disk import copied_durably, empty
from benchmarks.figures import Figure, Series
from benchmarks.subject import Place, Subject, as_installed, ending

SECTION = "process alone"
ROUNDS = 11
MILLI = 1000.0


def measure(directory: Path, payload: Path, subjects: tuple[Subject, ...]) -> list[Figure]:
    """Measure each subject in turn, round by round, so that a slow moment meets all of them."""
    times: dict[str, list[float]] = {}
    ended: dict[str, str] = {}

    def note(name: str, seconds: float) -> None:
        times.setdefault(name, []).append(seconds * MILLI)

    for number in range(ROUNDS + 1):
        for subject in subjects:
            place = Place(directory=directory / subject.name, payload=payload, subject=subject)
            try:
                found = {} if subject.name in ended else _round(place)
            except (RuntimeError, TimeoutError) as error:
                if subject.ours:
                    raise
                ended[subject.name] = ending(error)
                continue
            if number:  # the first round warms caches and compiles
                for name, seconds in found.items():
                    note(f"{subject.name} {name}", seconds)
        empty(directory / "copy")
        if number:
            note("copy", copied_durably(payload, directory / "copy"))
            note("interpreter", _bare_interpreter())
    return _figures({name: tuple(values) for name, values in times.items()}, ended.get("peer", ""))


def _round(place: Place) -> dict[str, float]:
    empty(place.directory)
    place.write_config()
    found = {"cold": place.set_up(), "second": place.set_up()}
    if place.subject.ours:
        found["status"] = place.run("status")
        found["verify"] = place.run("verify", codes=(0, 1))
        installed = replace(place, subject=replace(place.subject, command=as_installed()))
        found["installed"] = installed.set_up()
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


def _figures(times: dict[str, tuple[float, ...]], ended: str) -> list[Figure]:
    copy = Series(name="cp -a + fsync", unit="ms", values=times["copy"])
    bare = Series(name="python -c pass", unit="ms", values=times["interpreter"])
    cold_aim = copy.median + 4 * bare.median
    rows: tuple[tuple[str, str, Series, float | None, float | None], ...] = (
        ("cold", "setup into an empty directory, 52 MB", copy, cold_aim, None),
        ("second", "second setup, nothing changed", bare, None, 3.0),
        ("installed", "the same, started as the image does", bare, None, 3.0),
        ("status", "status", bare, None, 5.0),
        ("verify", "verify", bare, None, 5.0),
        ("revert", "SIGTERM to exit, daemon idle before", bare, None, 3.5),
        ("command", "revert as a command of its own", bare, None, None),
    )
    figures = []
    for key, name, baseline, aim, ratio in rows:
        peer = times.get(f"peer {key}")
        figures.append(
            Figure(
                section=SECTION,
                measured=Series(name=name, unit="ms", values=times[f"ours {key}"]),
                baseline=baseline,
                peer=None if peer is None else Series(name=name, unit="ms", values=peer),
                peer_ended="" if peer is not None else ended,
                aim=aim,
                aim_ratio=ratio,
            )
        )
    return figures
