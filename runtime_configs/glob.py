"""Patterns of paths, as in Go's ``filepath.Glob`` and ``filepath.Match``.

``*`` matches any characters and ``?`` one, including a leading dot; ``[a-c]`` matches one of a
class, which ``^`` negates; a backslash makes the next byte literal. None of them matches a slash:
the components of a path are matched one by one, as Glob goes from directory to directory.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_SPECIAL = re.compile(r"[*?\[\\]")
_BOUND: Final = r"(?:[^\\\]\-\udc80-\udcff]|\\[^\udc80-\udcff])"
"""A character of a class; a byte that is not UTF-8 can't be one."""
_PIECE = re.compile(
    rf"(?P<star>\*)|(?P<any>\?)|\[(?P<negated>\^?+)(?P<among>(?:{_BOUND}(?:-{_BOUND})?)++)\]"
    r"|\\(?P<escaped>.)|(?P<plain>[^\[\\])",
    re.DOTALL,
)
_RANGE = re.compile(r"\\?(.)(?:-\\?(.))?", re.DOTALL)


class MalformedPatternError(ValueError):
    """Go's ErrBadPattern: an empty or unclosed class, or a backslash at the end."""


def is_special(text: str) -> bool:
    """Return whether a text contains a special character."""
    return _SPECIAL.search(text) is not None


def escaped(text: str) -> str:
    """Return the pattern that matches exactly this path."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def check(pattern: str) -> None:
    """Raise MalformedPatternError if any part of a pattern is malformed.

    Go itself notices the mistake only if a name matches up to it.
    """
    for part in pattern.split("/"):
        _expression(part)


def matches(pattern: str, path: str) -> bool:
    """Return whether a pattern matches a path; a malformed one matches none."""
    parts, names = pattern.split("/"), path.split("/")
    try:
        return len(parts) == len(names) and all(
            _expression(part).fullmatch(name) for part, name in zip(parts, names, strict=True)
        )
    except MalformedPatternError:
        return False


def glob_order(path: str) -> tuple[bytes, ...]:
    """Return the sort key of Go's order: directory by directory, each by its names."""
    return tuple(each.encode("utf-8", "surrogateescape") for each in path.split("/"))


@lru_cache(maxsize=256)
def _expression(part: str) -> re.Pattern[str]:
    """Return a pattern without a slash as an expression. Raises MalformedPatternError."""
    between = [""]
    position = 0
    while position < len(part):
        piece = _PIECE.match(part, position)
        if piece is None:
            raise MalformedPatternError
        if piece["star"]:
            between.append("")
        else:
            between[-1] += _one(piece)
        position = piece.end()
    first, *others = between
    # What follows a star stays where it first matched: earlier ones are not tried again.
    inner = [f"(?>.*?{each})" for each in others[:-1]]
    last = [f".*{each}" for each in others[-1:]]
    return re.compile("".join([first, *inner, *last]), re.DOTALL)


def _one(piece: re.Match[str]) -> str:
    """Return the expression of what matches one character."""
    if piece["any"]:
        return "."
    if literal := piece["escaped"] or piece["plain"]:
        return re.escape(literal)
    ranges = [(low, high or low) for low, high in _RANGE.findall(piece["among"])]
    among = "".join(f"{re.escape(low)}-{re.escape(high)}" for low, high in ranges if low <= high)
    if not among:
        return "." if piece["negated"] else "(?!)"
    return f"[{piece['negated']}{among}]"
