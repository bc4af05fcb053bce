"""The picture of downtime: answers of the engine over time, ours above the baseline."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.probe import Outage

WIDTH, LEFT, RIGHT = 760, 150, 20
LEAD = 0.5
"""Seconds shown before the engine goes."""
INK, GREY = "#1c2733", "#5a6673"
SERVED, AWAY, SILENT = "#2f9e63", "#d64545", "#e8a33d"

_OPENING = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
    ' height="{height}" font-family="system-ui, sans-serif" font-size="13" role="img">'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One bar."""

    label: str
    outage: Outage


def draw(lanes: tuple[Lane, ...]) -> str:
    """Return the picture as SVG."""
    length = LEAD + max(lane.outage.silent for lane in lanes) + LEAD
    scale = (WIDTH - LEFT - RIGHT) / length
    height = 70 + 64 * len(lanes) + 34
    parts = [
        _OPENING.format(width=WIDTH, height=height),
        "<title>Answers of containerd over time while it reloads its configuration</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(20, 28, "containerd under systemd, asked over CRI without a pause", large=True),
    ]
    for number, lane in enumerate(lanes):
        parts += _lane(lane, 60 + 64 * number, length, scale)
    parts += _axis(height - 62, length, scale)
    parts += _legend(height - 16)
    return "\n".join([*parts, "</svg>", ""])


def _lane(lane: Lane, top: int, length: float, scale: float) -> list[str]:
    refused, silent = lane.outage.refused, lane.outage.silent
    pieces = (
        (0.0, length, SERVED),
        (LEAD, refused, AWAY),
        (LEAD + refused, silent - refused, SILENT),
    )
    bars = [
        f'<rect x="{LEFT + start * scale:.1f}" y="{top}" width="{max(span * scale, 1.5):.1f}"'
        f' height="22" fill="{colour}"/>'
        for start, span, colour in pieces
    ]
    told = f"away {refused:.2f} s, answering again after {silent:.2f} s"
    return [
        _text(20, top + 16, lane.label),
        *bars,
        f'<text x="{LEFT}" y="{top + 40}" fill="{GREY}">{told}</text>',
    ]


def _axis(top: int, length: float, scale: float) -> list[str]:
    parts = [f'<line x1="{LEFT}" y1="{top}" x2="{WIDTH - RIGHT}" y2="{top}" stroke="{GREY}"/>']
    for second in range(int(length - LEAD) + 1):
        x = LEFT + (LEAD + second) * scale
        parts.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{top + 5}" stroke="{GREY}"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{top + 19}" text-anchor="middle" fill="{GREY}">{second} s</text>'
        )
    return parts


def _legend(baseline: int) -> list[str]:
    parts = []
    entries = ((SERVED, "answers"), (AWAY, "refuses connections"), (SILENT, "CRI not ready yet"))
    for number, (colour, label) in enumerate(entries):
        x = LEFT + 190 * number
        parts.append(f'<rect x="{x}" y="{baseline - 10}" width="12" height="12" fill="{colour}"/>')
        parts.append(_text(x + 18, baseline, label))
    return parts


def _text(x: int, y: int, text: str, *, large: bool = False) -> str:
    style = ' font-size="16" font-weight="600"' if large else ""
    return f'<text x="{x}" y="{y}"{style} fill="{INK}">{text}</text>'
