"""Differences of config files as unified diffs, which `patch` accepts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from runtime_configs.formats.redaction import redacted
from runtime_configs.formats.secrets import REDACTED

ABSENT = "/dev/null"
CONTEXT = 3
"""Lines around a change, as `patch` expects them; any number will do."""
_NO_NEWLINE = "\\ No newline at end of file\n"
_SIGNS = {"replace": "-+", "delete": "-", "insert": "+", "equal": " "}

_ESCAPED = {chr(each): f"\\{each:03o}" for each in (*range(32), 127)} | {'"': '\\"', "\\": "\\\\"}
"""As in a C string."""

_Hunk = Sequence[tuple[str, int, int, int, int]]
"""What SequenceMatcher calls opcodes: what is done, and lines of either text."""


def unified_diff(path: str, before: bytes | None, after: bytes | None) -> str:
    """Return the diff of one file with its host path; ``None`` stands for an absent file.

    Lines that nobody changes are shown as context only as far as they hold no secret.
    """
    old, new = _text(before), _text(after)
    matcher = SequenceMatcher(None, _lines(old), _lines(new))
    kept = _secret_lines(old), _secret_lines(new)
    hunks: list[_Hunk] = []
    for context in range(CONTEXT, -1, -1):
        hunks = list(matcher.get_grouped_opcodes(context))
        if not any(_shows_any(hunk, *kept) for hunk in hunks):
            break
    name = _name(path)
    names = ABSENT if before is None else name, ABSENT if after is None else name
    lines = _written(names, hunks, _lines(old), _lines(new))
    return "".join(line if line.endswith("\n") else f"{line}\n{_NO_NEWLINE}" for line in lines)


def redacted_diff(path: str, before: bytes | None, after: bytes | None) -> str:
    """Return the same for a log: without context, and no value of a key that names a secret."""
    old, new = _text(before), _text(after)
    hunks = list(SequenceMatcher(None, _lines(old), _lines(new)).get_grouped_opcodes(0))
    return "".join(
        _written((path, path), hunks, *(_lines(redacted(each, REDACTED)) for each in (old, new)))
    )


def _name(path: str) -> str:
    """Return a path as GNU diff writes it, so that `patch` reads all of it.

    Without the tab it takes a name to end at its first space.
    """
    if path.endswith(" ") or any(char in _ESCAPED for char in path):
        return '"' + "".join(_ESCAPED.get(char) or char for char in path) + '"'
    return f"{path}\t" if " " in path else path


def _written(
    names: tuple[str, str], hunks: Sequence[_Hunk], old: Sequence[str], new: Sequence[str]
) -> Iterator[str]:
    if hunks:
        yield f"--- {names[0]}\n"
        yield f"+++ {names[1]}\n"
    for hunk in hunks:
        (_, old_start, _, new_start, _), (_, _, old_end, _, new_end) = hunk[0], hunk[-1]
        yield f"@@ -{_range(old_start, old_end)} +{_range(new_start, new_end)} @@\n"
        for kind, i, j, k, m in hunk:
            for sign in _SIGNS[kind]:
                yield from (sign + line for line in (new[k:m] if sign == "+" else old[i:j]))


def _range(start: int, end: int) -> str:
    """Return lines as a hunk's head names them: from 1 on, and none by the one above."""
    count = end - start
    return str(start + 1) if count == 1 else f"{start + (count > 0)},{count}"


def _shows_any(hunk: _Hunk, old: set[int], new: set[int]) -> bool:
    """Tell whether a hunk's context is among these lines of either text."""
    return any(
        kind == "equal" and (old.intersection(range(i, j)) or new.intersection(range(k, m)))
        for kind, i, j, k, m in hunk
    )


def _secret_lines(text: str) -> set[int]:
    pairs = zip(_lines(text), _lines(redacted(text, REDACTED)), strict=True)
    return {index for index, (line, shown) in enumerate(pairs) if line != shown}


def _text(content: bytes | None) -> str:
    # Bytes that are no UTF-8 come through unchanged.
    return (content or b"").decode(errors="surrogateescape")


def _lines(text: str) -> list[str]:
    """Return the lines; only a newline ends one."""
    return [line + "\n" for line in text.split("\n")[:-1]] + [
        line for line in text.split("\n")[-1:] if line
    ]
