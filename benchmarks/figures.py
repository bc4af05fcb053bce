"""What was measured: medians over repeated runs with their spread, each beside its baseline."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

_ENOUGH = 4
"""Values from which on a spread can be told."""
_NOISE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Repeated measurements of one thing."""

    name: str
    unit: str
    """``ms``, ``s``, ``MB``, ``KB``, ``bytes``, ``x`` (a ratio), or a word for a count."""
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The value in the middle."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """How far the middle half of the values lies apart, as a part of the median."""
        if len(self.values) < _ENOUGH or not self.median:
            return 0.0
        lower, _, upper = statistics.quantiles(self.values, n=4)
        return (upper - lower) / abs(self.median)

    @property
    def noisy(self) -> bool:
        """Whether the values lie so far apart that another run would give another median."""
        return self.spread > _NOISE

    def __str__(self) -> str:
        """Return the median and, of several runs, the least and the greatest value."""
        text = f"{shown(self.median)} {self.unit}"
        if len(self.values) > 1:
            text += f" ({shown(min(self.values))}..{shown(max(self.values))})"
        if self.noisy:
            text += " noisy"
        return text

    def to_json(self) -> dict[str, object]:
        """Return the text form."""
        return {
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "values": list(self.values),
            "noisy": self.noisy,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One row: what was measured, what it is held against, and what it should be."""

    section: str
    measured: Series
    baseline: Series | None = None
    peer: Series | None = None
    """The same by another installer."""
    peer_ended: str = ""
    """Why there is no value of the other installer: it failed, or ended itself, on the way."""
    aim: float | None = None
    """At most so much, in the unit of what was measured."""
    aim_ratio: float | None = None
    """At most so many times the baseline."""
    aim_peer: float | None = None
    """At most so many times the other installer's."""
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Measured over baseline."""
        return _quotient(self.measured, self.baseline)

    @property
    def peer_ratio(self) -> float | None:
        """The other installer's over ours."""
        return None if self.peer is None else _quotient(self.peer, self.measured)

    @property
    def met(self) -> bool | None:
        """Whether the aim is met by the median; None without one."""
        if self.aim is not None:
            return self.measured.median <= self.aim
        if self.aim_ratio is not None and self.ratio is not None:
            return self.ratio <= self.aim_ratio
        if self.aim_peer is not None and self.peer is not None:
            return self.measured.median <= self.aim_peer * self.peer.median
        return None

    @property
    def aim_text(self) -> str:
        """The aim and whether it is met."""
        if self.aim is not None:
            text = f"<= {shown(self.aim)} {self.measured.unit}"
        elif self.aim_ratio is not None:
            text = f"<= {shown(self.aim_ratio)} x"
        elif self.aim_peer is not None and self.peer is not None:
            text = f"<= {shown(self.aim_peer)} x the peer's"
        else:
            return ""
        return f"{text}: {'met' if self.met else 'NOT MET'}"

    def to_json(self) -> dict[str, object]:
        """Return the text form."""
        return {
            "section": self.section,
            "measured": self.measured.to_json(),
            "baseline": None if self.baseline is None else self.baseline.to_json(),
            "peer": None if self.peer is None else self.peer.to_json(),
            "peer_ended": self.peer_ended,
            "ratio": self.ratio,
            "peer_ratio": self.peer_ratio,
            "aim": self.aim,
            "aim_ratio": self.aim_ratio,
            "aim_peer": self.aim_peer,
            "met": self.met,
            "note": self.note,
        }


@dataclass(slots=True)
class Report:
    """The figures of one run, in their order."""

    figures: list[Figure] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """Sections that could not be measured here, each with the reason."""

    def table(self) -> tuple[tuple[str, ...], ...]:
        """Return the rows of the table, the heading first; the peer's columns only with a peer."""
        with_peer = any(each.peer is not None or each.peer_ended for each in self.figures)
        head = ("section", "figure", "measured", "baseline", "ratio", "aim")
        rows = [(*head, "peer", "peer / ours") if with_peer else head]
        last = ""
        for figure in self.figures:
            baseline = figure.baseline
            row = (
                "" if figure.section == last else figure.section,
                figure.measured.name,
                str(figure.measured),
                "" if baseline is None else f"{baseline.name}: {baseline}",
                _times(figure.ratio),
                figure.aim_text,
            )
            shown_peer = figure.peer_ended if figure.peer is None else str(figure.peer)
            peer = (shown_peer, _times(figure.peer_ratio))
            rows.append((*row, *peer) if with_peer else row)
            last = figure.section
        return tuple(rows)

    def to_json(self, machine: Mapping[str, object]) -> dict[str, object]:
        """Return the whole run's text form."""
        return {
            "machine": dict(machine),
            "figures": [figure.to_json() for figure in self.figures],
            "skipped": self.skipped,
        }


def quieter(measure: Callable[[], list[Figure]]) -> list[Figure]:
    """Measure, and again where the machine was busy; return the run whose values lie closer."""
    first = measure()
    if not any(figure.measured.noisy for figure in first):
        return first
    second = measure()
    return min(first, second, key=lambda run: sum(each.measured.spread for each in run))


def plain(rows: Sequence[Sequence[str]]) -> str:
    """Return a table for the terminal."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a table for a document."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the slope of a line through the points on logarithmic scales: 1 is linear.

    Raises ValueError for fewer than two points, or where one is not positive.
    """
    return statistics.linear_regression(
        [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    ).slope


def shown(value: float) -> str:
    """Return a number with as many digits as it is worth."""
    if value == int(value) and abs(value) < 1e6:  # noqa: PLR2004 - counts stay counts
        return f"{value:.0f}"
    for limit, digits in ((1, 3), (10, 2), (100, 1)):
        if abs(value) < limit:
            return f"{value:.{digits}f}"
    return f"{value:.0f}"


def _quotient(over: Series, under: Series | None) -> float | None:
    if under is None or not under.median or over.unit != under.unit:
        return None
    return over.median / under.median


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{shown(ratio)} x"
