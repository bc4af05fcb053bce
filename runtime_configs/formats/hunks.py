"""Find the lines by which two texts differ, and undo them in a third text.

It also works on a text that does not parse, or no longer does.
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
_HEADER = re.compile(rb"^(?=[ \t]*\[)", re.MULTILINE)
_SECTION_END = re.compile(rb"^[ \t]*(?:\[|\{\{)", re.MULTILINE)
_PARAGRAPH = re.compile(rb"(?:\A|(?<=\n))(?=[ \t]*\r?\n)")

_Splice: TypeAlias = tuple[int, int, bytes]
"""The start and end of a span of a text, and what replaces it."""
_Range: TypeAlias = tuple[int, int, int, int]


class _Hunk(Struct, frozen=True):
    """Whole lines that replace others, with the lines around them in the new text."""

    old: bytes
    new: bytes
    above: Sequence[bytes]
    """The nearest one last."""
    below: Sequence[bytes]


def _hunks(old: bytes, new: bytes) -> Iterator[_Hunk]:
    """Yield the hunks that lead from one text to the other, in order."""
    old_lines, new_lines = BytesIO(old).readlines(), BytesIO(new).readlines()
    for spans in _ranges(old_lines, new_lines):
        a, b, c, d = _slid(new_lines, spans)
        yield _Hunk(
            b"".join(old_lines[a:b]),
            b"".join(new_lines[c:d]),
            new_lines[max(0, c - _CONTEXT) : c],
            new_lines[d : d + _CONTEXT],
        )


def undone(base: bytes, ours: bytes, now: bytes) -> tuple[bytes, bool]:
    """Return ``now`` with the lines of ``base`` in place of each hunk that it has exactly once.

    Also return whether it has each of them so.
    """
    splices: list[_Splice] = []
    complete = True
    for hunk in _hunks(base, ours):
        found = _place(now, hunk)
        if found is not None:
            splices.append(found)
            continue
        complete = False
        if not hunk.old:
            splices += _paragraphs(now, hunk.new)
    result, fits = _spliced(now, splices)
    return result, complete and fits


def without_lines(base: bytes, ours: bytes, now: bytes) -> bytes:
    """Return ``now`` without the lines that lead from ``base`` to ``ours``.

    A line of ours that others changed stays, as a third value. A table of ours stays if others
    added lines to it.
    """
    result, _ = _spliced(now, _splices(_hunks(base, ours), now))
    return result


def _spliced(text: bytes, splices: Iterable[_Splice]) -> tuple[bytes, bool]:
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


def _place(text: bytes, hunk: _Hunk) -> _Splice | None:
    """Return the place of the hunk's new lines and what was there before."""
    if (start := _only(text, hunk.new)) is not None:
        return start, start + len(hunk.new), hunk.old
    for count in range(1, _CONTEXT + 1):
        above, below = b"".join(hunk.above[-count:]), b"".join(hunk.below[:count])
        for head, tail in ((above, below), (above, b""), (b"", below)):
            if (start := _only(text, head + hunk.new + tail)) is not None:
                start += len(head)
                return start, start + len(hunk.new), hunk.old
    return _inside_lines(text, hunk)


def _inside_lines(text: bytes, hunk: _Hunk) -> _Splice | None:
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


def _paragraphs(text: bytes, block: bytes) -> Iterator[_Splice]:
    """Yield the places of the unchanged paragraphs of an inserted block."""
    for paragraph in _PARAGRAPH.split(block):
        start = _only(text, paragraph) if paragraph.strip() else None
        if start is not None:
            yield start, start + len(paragraph), b""


def _only(text: bytes, lines: bytes) -> int | None:
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


def _splices(changes: Iterable[_Hunk], now: bytes) -> Iterator[_Splice]:
    for hunk in changes:
        found = _place(now, hunk)
        if found is not None and (hunk.old or not _goes_on(hunk.new, now[found[1] :])):
            yield found
        elif not hunk.old:
            for section in _HEADER.split(hunk.new):
                yield from _section(section, now)


def _goes_on(block: bytes, rest: bytes) -> bool:
    """Return whether another's key follows our last table, and so belongs to it."""
    line = rest.split(b"\n", 1)[0].strip()
    return _HEADER.search(block) is not None and bool(line) and line[:1] not in b"[#{"


def _section(section: bytes, now: bytes) -> Iterator[_Splice]:
    """Yield the places of a table's unchanged lines, and of its header if nothing else is left.

    Lines above the first header are looked for one by one.
    """
    lines = section.splitlines(keepends=True)
    if not section.lstrip().startswith(b"["):
        for line in lines:
            if line.strip() and (start := _only(now, line)) is not None:
                yield start, start + len(line), b""
        return
    header = next(line for line in lines if line.strip())
    start = _only(now, header)
    if start is None:
        return
    body = start + len(header)
    following = _SECTION_END.search(now, body)
    end = following.start() if following is not None else len(now)
    own, left = set(lines), False
    spans = []
    for line in now[body:end].splitlines(keepends=True):
        if line in own or not line.strip():
            spans.append((body, body + len(line), b""))
        else:
            left = left or not line.lstrip().startswith(b"#")
        body += len(line)
    if not left:
        yield start, start + len(header), b""
    yield from spans


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
