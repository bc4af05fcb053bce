"""The lines by which two texts differ, and the same lines undone in a third text.

Nothing here knows a format, so it also serves a text that does not parse any more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

_MOST_EDITS = 1000
"""Lines inserted and deleted up to which the shortest script is looked for."""
_CONTEXT = 3
"""Lines around a hunk that may tell one place from another."""
_PARAGRAPH = re.compile(rb"(?:\A|(?<=\n))(?=[ \t]*\r?\n)")


class Hunk(Struct, frozen=True):
    """Whole lines that stand in place of others, with the lines around them in the new text."""

    old: bytes
    new: bytes
    above: tuple[bytes, ...]
    """The nearest last."""
    below: tuple[bytes, ...]


class Undone(Struct, frozen=True):
    """A text after hunks were undone in it; ``complete`` where each had exactly one place."""

    text: bytes
    complete: bool


def hunks(old: bytes, new: bytes) -> tuple[Hunk, ...]:
    """Return the hunks that lead from one text to the other, in their order."""
    old_lines, new_lines = _lines(old), _lines(new)
    found = []
    for spans in _ranges(old_lines, new_lines):
        a, b, c, d = _slid(new_lines, spans)
        found.append(
            Hunk(
                b"".join(old_lines[a:b]),
                b"".join(new_lines[c:d]),
                tuple(new_lines[max(0, c - _CONTEXT) : c]),
                tuple(new_lines[d : d + _CONTEXT]),
            )
        )
    return tuple(found)


def undone(text: bytes, changes: Sequence[Hunk]) -> Undone:
    """Put the old lines back wherever a hunk's new ones stand in the text exactly once."""
    splices: list[tuple[int, int, bytes]] = []
    complete = True
    for hunk in changes:
        found = place(text, hunk)
        if found is not None:
            splices.append(found)
            continue
        complete = False
        if not hunk.old:
            splices += _paragraphs(text, hunk.new)
    pieces: list[bytes] = []
    position = 0
    for start, end, old in sorted(splices, key=lambda splice: splice[:2]):
        if start < position:
            complete = False
            continue
        pieces += [text[position:start], old]
        position = end
    return Undone(b"".join([*pieces, text[position:]]), complete)


def place(text: bytes, hunk: Hunk) -> tuple[int, int, bytes] | None:
    """Return where the hunk's new lines stand and what stood there before."""
    if hunk.new and (start := only(text, hunk.new)) is not None:
        return start, start + len(hunk.new), hunk.old
    for count in range(1, _CONTEXT + 1):
        above, below = b"".join(hunk.above[-count:]), b"".join(hunk.below[:count])
        for head, tail in ((above, below), (above, b""), (b"", below)):
            if (start := only(text, head + hunk.new + tail)) is not None and (
                hunk.new or head or tail
            ):
                start += len(head)
                return start, start + len(hunk.new), hunk.old
    return _inside_lines(text, hunk)


def _inside_lines(text: bytes, hunk: Hunk) -> tuple[int, int, bytes] | None:
    """Look for what is new without the characters that its lines had before, as at a file's end."""
    if not hunk.old:
        return None
    head = _common(hunk.old, hunk.new)
    tail = _common(hunk.old[head:][::-1], hunk.new[head:][::-1])
    new = hunk.new[head : len(hunk.new) - tail]
    old = hunk.old[head : len(hunk.old) - tail]
    if new.count(b"\n") == 0 or not new.strip() or text.count(new) != 1:
        return None
    start = text.index(new)
    return start, start + len(new), old


def _paragraphs(text: bytes, block: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield the places of those parts of an inserted block that still stand as they were."""
    for paragraph in _PARAGRAPH.split(block):
        start = only(text, paragraph) if paragraph.strip() else None
        if start is not None:
            yield start, start + len(paragraph), b""


def only(text: bytes, lines: bytes) -> int | None:
    """Return where whole lines stand in a text, if they do exactly once."""
    found = None
    start = text.find(lines) if lines else -1
    while start >= 0:
        end = start + len(lines)
        if (start == 0 or text[start - 1 : start] == b"\n") and (
            lines.endswith(b"\n") or end == len(text)
        ):
            if found is not None:
                return None
            found = start
        start = text.find(lines, start + 1)
    return found


def _common(left: bytes, right: bytes) -> int:
    for index, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return index
    return min(len(left), len(right))


def _lines(text: bytes) -> list[bytes]:
    lines = [line + b"\n" for line in text.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


_Range = tuple[int, int, int, int]


def _slid(new: Sequence[bytes], spans: _Range) -> _Range:
    """Move an insertion that could as well stand a few lines higher to where a block begins.

    Of the lines ``A / blank / B`` the second blank line and B may count as new, or B and the blank
    line before it; a block is the one that begins with its blank line.
    """
    a, b, c, d = spans
    if a != b:
        return spans
    shift = 0
    while c - shift > 0 and new[c - shift - 1] == new[d - shift - 1]:
        shift += 1
        if not new[c - shift].strip() and d - shift > c - shift + 1:
            return a - shift, b - shift, c - shift, d - shift
    return spans


def _ranges(old: Sequence[bytes], new: Sequence[bytes]) -> list[_Range]:
    """Return the ranges ``old[a:b]``, ``new[c:d]`` that differ, by a shortest script."""
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    left, right = old[head : len(old) - tail], new[head : len(new) - tail]
    if not left and not right:
        return []
    ranges: list[_Range] = []
    x, y = 0, 0
    for start_x, start_y, length in [*_matches(left, right), (len(left), len(right), 0)]:
        if (x, y) != (start_x, start_y):
            ranges.append((head + x, head + start_x, head + y, head + start_y))
        x, y = start_x + length, start_y + length
    return ranges


def _matches(left: Sequence[bytes], right: Sequence[bytes]) -> list[tuple[int, int, int]]:
    """Return runs of equal lines as offsets and length, by Myers' greedy search.

    It takes time in proportion to the lines times the edits; beyond ``_MOST_EDITS`` nothing counts
    as equal.
    """
    furthest = {1: 0}
    trace: list[dict[int, int]] = []
    for edits in range(min(_MOST_EDITS, len(left) + len(right)) + 1):
        trace.append(dict(furthest))
        for diagonal in range(-edits, edits + 1, 2):
            x = _step(furthest, diagonal, edits)
            y = x - diagonal
            while x < len(left) and y < len(right) and left[x] == right[y]:
                x, y = x + 1, y + 1
            furthest[diagonal] = x
            if x >= len(left) and y >= len(right):
                return _walked_back(trace, x, y)
    return []


def _walked_back(trace: Sequence[dict[int, int]], x: int, y: int) -> list[tuple[int, int, int]]:
    runs: list[tuple[int, int, int]] = []
    for edits in range(len(trace) - 1, -1, -1):
        diagonal = x - y
        start = _step(trace[edits], diagonal, edits) if edits else 0
        if x > start:
            runs.append((start, start - diagonal, x - start))
        if edits:
            down = _goes_down(trace[edits], diagonal, edits)
            x, y = (start, start - diagonal - 1) if down else (start - 1, start - diagonal)
    return runs[::-1]


def _goes_down(furthest: dict[int, int], diagonal: int, edits: int) -> bool:
    return diagonal == -edits or (
        diagonal != edits and furthest[diagonal - 1] < furthest[diagonal + 1]
    )


def _step(furthest: dict[int, int], diagonal: int, edits: int) -> int:
    """Return how far one more edit leads on a diagonal, before equal lines."""
    if _goes_down(furthest, diagonal, edits):
        return furthest[diagonal + 1]
    return furthest[diagonal - 1] + 1
