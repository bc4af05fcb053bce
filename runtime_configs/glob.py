"""Patterns of paths, as in Go's ``filepath.Glob`` and ``filepath.Match``.

``*`` matches any bytes and ``?`` one character, including a leading dot; ``[a-c]`` matches one of a
class, which ``^`` negates; a backslash makes the next byte literal. None of them matches a slash:
the components of a path are matched one by one, as Glob goes from directory to directory.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from msgspec import Struct

_SPECIAL = re.compile(r"[*?\[\\]")
_NO_CHARACTER: Final = 0xFFFD
"""The value of a byte that is not UTF-8."""


class MalformedPatternError(ValueError):
    """Go's ErrBadPattern: an empty or unclosed class, or a backslash at the end."""


class _Class(Struct, frozen=True):
    """One character in some ranges, or in none of them."""

    ranges: tuple[tuple[int, int], ...]
    negated: bool

    def takes(self, character: int) -> bool:
        return self.negated != any(low <= character <= high for low, high in self.ranges)


_ANY: Final = _Class((), negated=True)
_STAR: Final = "*"
_Token: TypeAlias = Literal["*"] | _Class | int
"""An integer is a literal byte."""


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
        _tokens(part)


def matches(pattern: str, path: str) -> bool:
    """Return whether a pattern matches a path; a malformed one matches none."""
    parts, names = pattern.split("/"), path.split("/")
    try:
        return len(parts) == len(names) and all(
            _takes(_tokens(part), _bytes(name)) for part, name in zip(parts, names, strict=True)
        )
    except MalformedPatternError:
        return False


def glob_order(path: str) -> tuple[bytes, ...]:
    """Return the sort key of Go's order: directory by directory, each by its names."""
    return tuple(map(_bytes, path.split("/")))


def _takes(tokens: Sequence[_Token], name: bytes) -> bool:
    """Return whether the tokens match the whole name.

    What follows a star is tried at each byte in turn; once it matched, earlier stars are not
    retried.
    """
    token = position = 0
    star: tuple[int, int] | None = None
    while token < len(tokens) or position < len(name):
        found = tokens[token] if token < len(tokens) else None
        if found == _STAR:
            token += 1
            star = token, position
        elif found is not None and (width := _width(found, name, position)):
            token, position = token + 1, position + width
        elif star is not None and star[1] < len(name):
            star = star[0], star[1] + 1
            token, position = star
        else:
            return False
    return True


def _width(token: _Token, name: bytes, position: int) -> int:
    """Return the number of bytes that a token matches; 0 if it does not match."""
    if position == len(name):
        return 0
    if isinstance(token, _Class):
        character, width = _character(name, position)
        return width if token.takes(character) else 0
    return int(name[position] == token)


@lru_cache(maxsize=256)
def _tokens(part: str) -> tuple[_Token, ...]:
    """Return the tokens of a pattern without a slash. Raises MalformedPatternError."""
    text, position = _bytes(part), 0
    found: list[_Token] = []
    while position < len(text):
        byte = text[position : position + 1]
        position += 1
        if byte == b"*":
            found.append(_STAR)
        elif byte == b"?":
            found.append(_ANY)
        elif byte == b"[":
            among, position = _class(text, position)
            found.append(among)
        else:
            if byte == b"\\":
                byte = text[position : position + 1]
                position += 1
            if not byte:
                raise MalformedPatternError
            found.append(byte[0])
    return tuple(found)


def _class(text: bytes, position: int) -> tuple[_Class, int]:
    """Return the class whose bracket opens before ``position``, and its end."""
    negated = text.startswith(b"^", position)
    position += negated
    ranges: list[tuple[int, int]] = []
    while not (ranges and text.startswith(b"]", position)):
        low, position = _bound(text, position)
        high = low
        if text.startswith(b"-", position):
            high, position = _bound(text, position + 1)
        ranges.append((low, high))
    return _Class(tuple(ranges), negated=negated), position + 1


def _bound(text: bytes, position: int) -> tuple[int, int]:
    """Return a character of a class and its end."""
    if text[position : position + 1] in (b"-", b"]"):
        raise MalformedPatternError
    position += text.startswith(b"\\", position)
    character, width = _character(text, position)
    if (character, width) == (_NO_CHARACTER, 1):
        raise MalformedPatternError
    return character, position + width


def _character(text: bytes, position: int) -> tuple[int, int]:
    """Return the character at an offset and its width in bytes."""
    for width in range(1, 5):
        try:
            return ord(text[position : position + width].decode()), width
        except (UnicodeDecodeError, TypeError):
            continue
    return _NO_CHARACTER, 1


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
