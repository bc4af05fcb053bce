"""Find the lines by which two texts differ, and undo them in a third text.

It depends on no format, so it also works on a text that no longer parses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from posixpath import commonprefix
from typing import TypeAlias

from msgspec import Struct

_LONG = 2000
"""Lines up to which common ones may start a match: the time grows with their square."""
_CONTEXT = 3
"""The number of lines around a hunk that help to find its place."""
_PARAGRAPH = re.compile(rb"(?:\A|(?<=\n))(?=[ \t]*\r?\n)")

Splice: TypeAlias = tuple[int, int, bytes]
"""The start and end of a span of a text, and what replaces it."""
_Range: TypeAlias = tuple[int, int, int, int]


class Hunk(Struct, frozen=True):
    """Whole lines that replace others, with the lines around them in the new text."""

    old: bytes
    new: bytes
    above: Sequence[bytes]
    """The nearest one last."""
    below: Sequence[bytes]


def hunks(old: bytes, new: bytes) -> Iterator[Hunk]:
    """Yield the hunks that lead from one text to the other, in order."""
    old_lines, new_lines = BytesIO(old).readlines(), BytesIO(new).readlines()
    for spans in _ranges(old_lines, new_lines):
        a, b, c, d = _slid(new_lines, spans)
        yield Hunk(
            b"".join(old_lines[a:b]),
            b"".join(new_lines[c:d]),
            new_lines[max(0, c - _CONTEXT) : c],
            new_lines[d : d + _CONTEXT],
        )


def undone(text: bytes, changes: Iterable[Hunk]) -> tuple[bytes, bool]:
    """Restore the old lines of each hunk whose new lines occur in the text exactly once.

    Also return whether each of them does.
    """
    splices: list[Splice] = []
    complete = True
    for hunk in changes:
        found = place(text, hunk)
        if found is not None:
            splices.append(found)
            continue
        complete = False
        if not hunk.old:
            splices += _paragraphs(text, hunk.new)
    result, fits = spliced(text, splices)
    return result, complete and fits


def spliced(text: bytes, splices: Iterable[Splice]) -> tuple[bytes, bool]:
    """Replace spans of a text, of two that overlap the first; return whether none do."""
    pieces: list[bytes] = []
    position = 0
    fits = True
    for start, end, new in sorted(splices, key=lambda splice: splice[:2]):
        if start < position:
            fits = False
            continue
        pieces += [text[position:start], new]
        position = end
    return b"".join([*pieces, text[position:]]), fits


def place(text: bytes, hunk: Hunk) -> Splice | None:
    """Return the place of the hunk's new lines and what was there before."""
    if (start := only(text, hunk.new)) is not None:
        return start, start + len(hunk.new), hunk.old
    for count in range(1, _CONTEXT + 1):
        above, below = b"".join(hunk.above[-count:]), b"".join(hunk.below[:count])
        for head, tail in ((above, below), (above, b""), (b"", below)):
            if (start := only(text, head + hunk.new + tail)) is not None:
                start += len(head)
                return start, start + len(hunk.new), hunk.old
    return _inside_lines(text, hunk)


def _inside_lines(text: bytes, hunk: Hunk) -> Splice | None:
    """Look for only the new part of changed lines, as at the end of a file."""
    if not hunk.old:
        return None
    head = len(commonprefix([hunk.old, hunk.new]))
    tail = len(commonprefix([hunk.old[head:][::-1], hunk.new[head:][::-1]]))
    new = hunk.new[head : len(hunk.new) - tail]
    old = hunk.old[head : len(hunk.old) - tail]
    if new.count(b"\n") == 0 or not new.strip() or text.count(new) != 1:
        return None
    start = text.index(new)
    return start, start + len(new), old


def _paragraphs(text: bytes, block: bytes) -> Iterator[Splice]:
    """Yield the places of the unchanged paragraphs of an inserted block."""
    for paragraph in _PARAGRAPH.split(block):
        start = only(text, paragraph) if paragraph.strip() else None
        if start is not None:
            yield start, start + len(paragraph), b""


def only(text: bytes, lines: bytes) -> int | None:
    """Return the place of whole lines in a text, if they are some and occur exactly once."""
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


def _ranges(old: list[bytes], new: list[bytes]) -> list[_Range]:
    """Return the ranges ``old[a:b]``, ``new[c:d]`` that differ."""
    from difflib import SequenceMatcher  # only for an edited file

    head = len(commonprefix([old, new]))
    left, right = old[head:], new[head:]
    tail = len(commonprefix([left[::-1], right[::-1]]))
    left, right = left[: len(left) - tail], right[: len(right) - tail]
    matcher = SequenceMatcher(None, left, right, autojunk=len(right) > _LONG)
    return [
        (head + a, head + b, head + c, head + d)
        for kind, a, b, c, d in matcher.get_opcodes()
        if kind != "equal"
    ]
