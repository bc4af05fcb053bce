"""How plan and revert grow with the engine's config, and how large the journal gets."""

from __future__ import annotations

from pathlib import Path

from benchmarks.disk import empty, size_of
from benchmarks.figures import Figure, Series, exponent
from benchmarks.subject import CONFIG, Place, ours

SECTION = "growth"
TABLES = (10, 100, 1_000, 10_000)
ROUNDS = 3
FLOOR = 0.01
"""Seconds over the smallest file's time below which a difference is noise."""


def config_of(tables: int) -> bytes:
    """Return a config with so many tables, such as a registry mirror's."""
    text = CONFIG.decode()
    for number in range(tables):
        text += (
            f'\n[plugins."io.containerd.grpc.v1.cri".registry.mirrors."host-{number}.example"]\n'
            f'  endpoint = ["https://mirror-{number}.example"]  # kept\n'
        )
    return text.encode()


def measure(directory: Path, payload: Path) -> list[Figure]:
    """Run plan, setup and revert with growing files; every one has to come back as it was."""
    plans: dict[int, list[float]] = {tables: [] for tables in TABLES}
    reverts: dict[int, list[float]] = {tables: [] for tables in TABLES}
    journals: dict[int, int] = {}
    place = Place(directory=directory / "growing", payload=payload, subject=ours())
    for _ in range(ROUNDS):
        for tables in TABLES:
            empty(place.directory)
            place.write_config(config_of(tables))
            plans[tables].append(place.run("plan"))
            place.set_up()
            journals[tables] = size_of(place.install_dir / ".toolkit-journal")
            reverts[tables].append(place.run("revert", "--purge"))
            if place.config.read_bytes() != config_of(tables):
                raise RuntimeError(f"{tables} tables did not come back as they were")
    figures = []
    for name, times in (("plan", plans), ("revert", reverts)):
        figures += [_time(name, tables, times) for tables in TABLES]
        figures.append(_growth(name, times))
    for tables in TABLES:
        size = Series(
            name=f"journal, {tables:,} tables", unit="KB", values=(journals[tables] / 1000,)
        )
        config = Series(name="the config", unit="KB", values=(len(config_of(tables)) / 1000,))
        figures.append(Figure(section=SECTION, measured=size, baseline=config))
    return figures


def _time(name: str, tables: int, times: dict[int, list[float]]) -> Figure:
    return Figure(
        section=SECTION,
        measured=Series(
            name=f"{name}, {tables:,} tables",
            unit="ms",
            values=tuple(seconds * 1000 for seconds in times[tables]),
        ),
    )


def _growth(name: str, times: dict[int, list[float]]) -> Figure:
    """Fit the time that the tables add to the smallest file's, where it is more than noise."""
    least = {tables: min(values) for tables, values in times.items()}
    floor = least[TABLES[0]]
    points = [(n - TABLES[0], least[n] - floor) for n in TABLES if least[n] - floor > FLOOR]
    slope = exponent(*zip(*points, strict=True)) if len(points) > 1 else 0.0
    return Figure(
        section=SECTION,
        measured=Series(
            name=f"{name}: exponent of the time that tables add", unit="n", values=(slope,)
        ),
        aim=1.1,
        note="1 is linear; fitted over the sizes whose added time is above noise",
    )
