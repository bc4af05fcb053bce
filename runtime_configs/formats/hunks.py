"""Find the lines by which two texts differ, and undo them in a third text.

It depends on no format, so it also works on a text that no longer parses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

_LONG = 2000
"""Lines up to which common ones may start a match: the time grows with their square."""
_CONTEXT = 3
"""The number of lines around a hunk that help to find its place."""
_PARAGRAPH = re.compile(rb"(?:\A|(?<=\n))(?=[ \t]*\r?\n)")


class Hunk(Struct, frozen=True):
    """Whole lines that replace others, with the lines around them in the new text."""

    old: bytes
    new: bytes
    above: tuple[bytes, ...]
    """The nearest one last."""
    below: tuple[bytes, ...]


class Undone(Struct, frozen=True):
    """A text with hunks undone; ``complete`` if each of them had exactly one place."""

    text: bytes
    complete: bool


def hunks(old: bytes, new: bytes) -> tuple[Hunk, ...]:
    """Return the hunks that lead from one text to the other, in order."""
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
    """Restore the old lines of each hunk whose new lines occur in the text exactly once."""
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
    """Return the place of the hunk's new lines and what was there before."""
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
    """Look for only the new part of changed lines, as at the end of a file."""
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
    """Yield the places of the unchanged paragraphs of an inserted block."""
    for paragraph in _PARAGRAPH.split(block):
        start = only(text, paragraph) if paragraph.strip() else None
        if start is not None:
            yield start, start + len(paragraph), b""


def only(text: bytes, lines: bytes) -> int | None:
    """Return the place of whole lines in a text, if they occur exactly once."""
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
    """Move an insertion up to the beginning of a block, if it fits there as well.

    In ``A / blank / B / blank / C`` the new lines may be ``B / blank`` or ``blank / B``; a block
    begins with its blank line.
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
    """Return the ranges ``old[a:b]``, ``new[c:d]`` that differ."""
    from difflib import SequenceMatcher  # only for an edited file

    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    left, right = old[head : len(old) - tail], new[head : len(new) - tail]
    matcher = SequenceMatcher(None, left, right, autojunk=len(right) > _LONG)
    return [
        (head + a, head + b, head + c, head + d)
        for kind, a, b, c, d in matcher.get_opcodes()
        if kind != "equal"
    ]
