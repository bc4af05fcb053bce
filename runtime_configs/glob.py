"""Patterns of paths, as Go's ``filepath.Glob`` and ``filepath.Match`` read them.

``*`` takes any bytes and ``?`` one character, a leading dot too; ``[a-c]`` takes one of a class,
which ``^`` negates; a backslash takes the next byte as it stands. Neither takes a slash: the parts
of a path are matched one by one, as Glob goes from directory to directory.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from msgspec import Struct

_SPECIAL = re.compile(r"[*?\[\\]")
_NO_CHARACTER: Final = 0xFFFD
"""What a byte that is no UTF-8 counts as."""


class MalformedPatternError(ValueError):
    """Go's ErrBadPattern: a class that is empty or open, or nothing behind a backslash."""


class _Class(Struct, frozen=True):
    """One character of some ranges, or of none of them."""

    ranges: tuple[tuple[int, int], ...]
    negated: bool

    def takes(self, character: int) -> bool:
        return self.negated != any(low <= character <= high for low, high in self.ranges)


_ANY: Final = _Class((), negated=True)
_STAR: Final = "*"
_Token: TypeAlias = Literal["*"] | _Class | int
"""An integer is a byte that stands for itself."""


def is_special(text: str) -> bool:
    """Tell whether anything in a text has a meaning of its own."""
    return _SPECIAL.search(text) is not None


def escaped(text: str) -> str:
    """Return the pattern that stands for a path as it is written."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def check(pattern: str) -> None:
    """Raise MalformedPatternError where any part of a pattern is malformed.

    Go itself notices only once a name comes as far as the mistake.
    """
    for part in pattern.split("/"):
        _tokens(part)


def matches(pattern: str, path: str) -> bool:
    """Tell whether a pattern stands for a path; a malformed one stands for none."""
    parts, names = pattern.split("/"), path.split("/")
    try:
        return len(parts) == len(names) and all(
            _takes(_tokens(part), _bytes(name)) for part, name in zip(parts, names, strict=True)
        )
    except MalformedPatternError:
        return False


def glob_order(path: str) -> tuple[bytes, ...]:
    """Return what paths are sorted by to stand as Go comes to them: each directory by its names."""
    return tuple(map(_bytes, path.split("/")))


def _takes(tokens: Sequence[_Token], name: bytes) -> bool:
    """Tell whether the tokens take the whole name.

    What follows a star is tried from byte to byte, and once it was found an earlier star is not
    tried again.
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
    """Return how many bytes of the name a token takes; 0 where it takes none."""
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
    """Return the class whose bracket opens before ``position``, and where it ends."""
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
    """Return a character of a class and where it ends."""
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
