"""Differences of config files as unified diffs, which `patch` accepts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from difflib import SequenceMatcher
from io import StringIO
from itertools import groupby

from runtime_configs.formats.redaction import redacted

ABSENT = "/dev/null"
CONTEXT = 3
"""The number of lines around a change; `patch` accepts any."""
_HIDDEN = "\\ {} with a secret, not shown\n"
_RESTORED = "\\ {} restored as before, not shown\n"
_NO_NEWLINE = "\\ No newline at end of file\n"
_SIGNS = {"replace": "-+", "delete": "-", "insert": "+", "equal": " "}

_ESCAPED = {chr(each): f"\\{each:03o}" for each in (*range(32), 127)} | {'"': '\\"', "\\": "\\\\"}
"""As in a C string."""

_Hunk = Sequence[tuple[str, int, int, int, int]]
"""What SequenceMatcher calls opcodes: what is done, and lines of either text."""


def unified_diff(
    path: str, before: bytes | None, after: bytes | None, known: bytes | None = None
) -> str:
    """Return the diff of one file with its host path; ``None`` stands for an absent file.

    Lines with a secret are not shown: context ends before them, and a note with their number
    replaces changed ones, so that `patch` rejects the diff. ``known`` is the file without us;
    without it an absent file is assumed to return with the site's own lines.
    """
    old, new = _lines(before), _lines(after)
    secret = _secret_lines(old), _secret_lines(new)
    matcher = SequenceMatcher(None, old, new)
    hunks: list[_Hunk] = []
    for context in range(CONTEXT, -1, -1):
        hunks = list(matcher.get_grouped_opcodes(context))
        if not any(_shows_any(hunk, *secret) for hunk in hunks):
            break
    theirs = {*(new if before is None and known is None else old), *_lines(known)}
    # A line of ours is not secret only because of an open string or bracket of theirs above it.
    hidden = {at for at in secret[1] if new[at] in theirs or _secret_lines([new[at]])}
    name = _name(path)
    names = ABSENT if before is None else name, ABSENT if after is None else name
    lines = _written(names, hunks, (_without(old, secret[0]), _without(new, hidden)), _HIDDEN)
    return "".join(line if line.endswith("\n") else f"{line}\n{_NO_NEWLINE}" for line in lines)


def redacted_diff(
    path: str, before: bytes | None, after: bytes | None, known: bytes | None = None
) -> str:
    """Return the same for a log: without context and without secret values.

    Restored lines of ``known``, the file without us, are counted and not shown: a log should not
    repeat the site's own lines.
    """
    old, new = _lines(before), _lines(after)
    hunks = list(SequenceMatcher(None, old, new).get_grouped_opcodes(0))
    theirs = frozenset(_lines(known))
    restored = {index for index, line in enumerate(new) if line in theirs}
    shown = _redacted(old), _without(_redacted(new), restored)
    return "".join(_written((path, path), hunks, shown, _RESTORED))


def _name(path: str) -> str:
    """Return a path as GNU diff writes it, so that `patch` reads all of it.

    Without the tab a name would end at its first space.
    """
    if path.endswith(" ") or any(char in _ESCAPED for char in path):
        return '"' + "".join(_ESCAPED.get(char) or char for char in path) + '"'
    return f"{path}\t" if " " in path else path


def _without(lines: Sequence[str], hidden: Collection[int]) -> Sequence[str | None]:
    return [None if index in hidden else line for index, line in enumerate(lines)]


def _written(
    names: tuple[str, str],
    hunks: Sequence[_Hunk],
    sides: tuple[Sequence[str | None], Sequence[str | None]],
    note: str,
) -> Iterator[str]:
    """Yield the diff's lines; a note counts those that are None."""
    if hunks:
        yield f"--- {names[0]}\n"
        yield f"+++ {names[1]}\n"
    for hunk in hunks:
        (_, old_start, _, new_start, _), (_, _, old_end, _, new_end) = hunk[0], hunk[-1]
        yield f"@@ -{_range(old_start, old_end)} +{_range(new_start, new_end)} @@\n"
        for kind, i, j, k, m in hunk:
            for sign in _SIGNS[kind]:
                lines = sides[1][k:m] if sign == "+" else sides[0][i:j]
                for hidden, group in groupby(lines, lambda line: line is None):
                    if hidden:
                        count = len(list(group))
                        yield note.format(f"{count} line{'s' if count > 1 else ''}")
                    else:
                        yield from (f"{sign}{line}" for line in group)


def _range(start: int, end: int) -> str:
    """Return lines in the form of a hunk's header: from 1 on, an empty range by the line above."""
    count = end - start
    return str(start + 1) if count == 1 else f"{start + (count > 0)},{count}"


def _shows_any(hunk: _Hunk, old: set[int], new: set[int]) -> bool:
    """Return whether a hunk's context contains one of these lines of either text."""
    return any(
        kind == "equal" and (old.intersection(range(i, j)) or new.intersection(range(k, m)))
        for kind, i, j, k, m in hunk
    )


def _secret_lines(lines: Sequence[str]) -> set[int]:
    pairs = zip(lines, _redacted(lines), strict=True)
    return {index for index, (line, shown) in enumerate(pairs) if line != shown}


def _redacted(lines: Sequence[str]) -> list[str]:
    return _split(redacted("".join(lines)))


def _lines(content: bytes | None) -> list[str]:
    # Bytes that are not UTF-8 are preserved.
    return _split((content or b"").decode(errors="surrogateescape"))


def _split(text: str) -> list[str]:
    """Return the lines; only a newline ends one."""
    return StringIO(text, newline="\n").readlines()
