"""The positions of headers and keys in the text of a TOML document.

The text has to be valid TOML (tomllib has read it before), so the scan only distinguishes strings,
brackets and comments. Its time is proportional to the length of the text.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple

from runtime_configs.formats.values import KeyPath

_BASIC = r'"(?:[^"\\\n]++|\\.)*+"'
_LITERAL = r"'[^'\n]*+'"
_LONG_BASIC = r'"""(?:[^"\\]++|\\.|"(?!""))*+"{3,5}'
_LONG_LITERAL = r"'''(?:[^']++|'(?!''))*+'{3,5}"
_KEY_PART = re.compile(rf"[ \t]*+([A-Za-z0-9_-]++|{_BASIC}|{_LITERAL})[ \t]*+")
_BLANKS = re.compile(r"[ \t]*+")
_BETWEEN = re.compile(r"(?:[ \t\r\n,]|#[^\n]*+)*+")
"""What is between the elements of an array."""
_TOKEN = re.compile(
    rf"{_LONG_BASIC}|{_LONG_LITERAL}|{_BASIC}|{_LITERAL}"
    r"|[\[{]|[\]}]|,|\#[^\n]*+|\n|[^\[\]{}\"'\#\n,]++",
    re.DOTALL,
)
_PLAIN_KEY = re.compile(
    r"([ \t]*+)([A-Za-z0-9_-]++)[ \t]*+=[ \t]*+"
    r"""((?:"(?!"")[^"\\\n]*+"|'(?!'')[^'\n]*+'|[^"'\[{\#\s]++))[ \t]*+(?:\#[^\n]*+)?\r?(?:\n|\Z)"""
)
"""The most common line: a bare key and a value without brackets. Others take the slow path."""
_TEXT = re.compile(rf"{_LONG_BASIC}|{_LONG_LITERAL}|{_BASIC}|{_LITERAL}|\#[^\n]*+", re.DOTALL)
MOST_PARTS: Final = 256
"""The most parts of a dotted key: the time to read one grows with their square."""
_LONG_KEY = re.compile(rf"(?:[A-Za-z0-9_-]*+[ \t]*+\.[ \t]*+){{{MOST_PARTS}}}")


class StatementKind(Enum):
    """The kind of a statement."""

    TABLE = "[table]"
    ARRAY = "[[array of tables]]"
    KEY = "key = value"


class Statement(NamedTuple):
    """A header or a key with its value. Offsets are into the text; lines include their newline."""

    kind: StatementKind
    path: KeyPath
    """From the root, also for a key below a header."""
    spelling: tuple[str, ...]
    """The parts of the key or header as written, including quotes."""
    header: KeyPath
    """The path of the header above it (of a header: its own); empty above the first one."""
    in_array: bool
    """Whether it is inside an element of an array of tables, which has no key path."""
    start: int
    """Of its first line."""
    end: int
    """After its last line."""
    indent: str
    value_start: int
    """Of a header: its closing bracket, as an empty value."""
    value_end: int


@lru_cache(maxsize=4)  # a plan edits the text that its diff is made of
def scan(text: str) -> tuple[Statement, ...]:
    """Return the statements of a valid TOML document, in order."""
    return tuple(_statements(text))


def has_long_key(text: str) -> bool:
    """Return whether a dotted key has more than ``MOST_PARTS`` parts, in any text."""
    if all(line.count(".") < MOST_PARTS for line in text.split("\n")):
        return False
    return _LONG_KEY.search(_TEXT.sub("", text)) is not None


def _statements(text: str) -> Iterator[Statement]:
    prefix: KeyPath = ()
    arrays: set[KeyPath] = set()
    in_array, position = False, 0
    while position < len(text):
        line_start = position
        if (plain := _PLAIN_KEY.match(text, position)) is not None:
            position = plain.end()
            indent, name, _ = plain.groups()
            yield Statement(
                StatementKind.KEY, (*prefix, name), (name,), prefix, in_array,
                line_start, position, indent, *plain.span(3),
            )  # fmt: skip
            continue
        position = _end_of(_BLANKS, text, position)
        indent = text[line_start:position]
        if position == len(text):
            return
        if text[position] in "#\n\r":
            position = line_end(text, position)
            continue
        if text[position] == "[":
            is_array = text.startswith("[[", position)
            path, spelling, position = _key(text, position + (2 if is_array else 1))
            end = line_end(text, position)
            if is_array:
                arrays.add(path)
            prefix = path
            in_array = bool(arrays) and any(path[:n] in arrays for n in range(1, len(path) + 1))
            kind = StatementKind.ARRAY if is_array else StatementKind.TABLE
            yield Statement(
                kind, path, spelling, path, in_array, line_start, end, indent, position, position
            )
        else:
            path, spelling, position = _key(text, position)
            value_start = _end_of(_BLANKS, text, position + 1)
            value_end = _value_end(text, value_start)
            end = line_end(text, value_end)
            yield Statement(
                StatementKind.KEY, prefix + path, spelling, prefix, in_array,
                line_start, end, indent, value_start, value_end,
            )  # fmt: skip
        position = end


def _value_end(text: str, start: int) -> int:
    """Return the end of the value that begins at ``start``."""
    depth, end, position = 0, start, start
    while (token := _TOKEN.match(text, position)) is not None:
        piece = token.group()
        if depth == 0 and piece[0] in "#\n,]}":
            break
        depth += (piece in "[{") - (piece in "]}")
        end, position = position + len(piece.rstrip(" \t\r")), token.end()
        if depth == 0 and piece in "]}":
            break
    return end


def items(text: str) -> list[tuple[int, int]]:
    """Return the spans of an array's elements, or of an inline table's ``key = value`` pairs.

    ``text`` is the whole array or table, from its opening bracket to the closing one.
    """
    found: list[tuple[int, int]] = []
    start = _end_of(_BETWEEN, text, 1)
    while start < len(text) - 1:
        end = _value_end(text, start)
        found.append((start, end))
        start = _end_of(_BETWEEN, text, end)
    return found


def _key(text: str, position: int) -> tuple[KeyPath, tuple[str, ...], int]:
    """Read a dotted key; return the offset of the ``=`` or ``]`` after it too."""
    names: list[str] = []
    spelling: list[str] = []
    while (part := _KEY_PART.match(text, position)) is not None:
        raw = part.group(1)
        spelling.append(raw)
        names.append(_decoded(raw))
        position = part.end()
        if not text.startswith(".", position):
            break
        position += 1
    return tuple(names), tuple(spelling), position


def _decoded(raw: str) -> str:
    if raw[0] == "'" or (raw[0] == '"' and "\\" not in raw):
        return raw[1:-1]
    if raw[0] == '"':
        return str(tomllib.loads(f"key = {raw}")["key"])
    return raw


def _end_of(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def line_end(text: str, position: int) -> int:
    """Return the offset after a line's newline."""
    newline = text.find("\n", position)
    return len(text) if newline < 0 else newline + 1
