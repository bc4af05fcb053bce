"""Merge text by lines: YAML settings, and templates that are no TOML even with a mask."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from runtime_configs.formats.hunks import Hunk, Splice, hunks, only, place, spliced

_HEADER = re.compile(rb"^(?=[ \t]*\[)", re.MULTILINE)
_SECTION_END = re.compile(rb"^[ \t]*(?:\[|\{\{)", re.MULTILINE)


def without_lines(base: bytes, ours: bytes, now: bytes) -> bytes:
    """Return ``now`` without the lines that lead from ``base`` to ``ours``.

    A line of ours that others changed stays, as a third value. A table of ours stays if others
    added lines to it.
    """
    result, _ = spliced(now, _splices(hunks(base, ours), now))
    return result


def _splices(changes: Iterable[Hunk], now: bytes) -> Iterator[Splice]:
    for hunk in changes:
        found = place(now, hunk)
        if found is not None and (hunk.old or not _goes_on(hunk.new, now[found[1] :])):
            yield found
        elif not hunk.old:
            for section in _HEADER.split(hunk.new):
                yield from _section(section, now)


def _goes_on(block: bytes, rest: bytes) -> bool:
    """Return whether another's key follows our last table, and so belongs to it."""
    line = rest.split(b"\n", 1)[0].strip()
    return _HEADER.search(block) is not None and bool(line) and line[:1] not in b"[#{"


def _section(section: bytes, now: bytes) -> Iterator[Splice]:
    """Yield the places of a table's unchanged lines, and of its header if nothing else is left.

    Lines above the first header are looked for one by one.
    """
    lines = section.splitlines(keepends=True)
    if not section.lstrip().startswith(b"["):
        for line in lines:
            if line.strip() and (start := only(now, line)) is not None:
                yield start, start + len(line), b""
        return
    header = next(line for line in lines if line.strip())
    start = only(now, header)
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
