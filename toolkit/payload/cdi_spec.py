"""Read the devices and paths of a CDI spec, in JSON or in the block YAML that Go programs write.

Every program that writes CDI specs is a Go program with one of two YAML libraries, and both write
nested blocks with plain or quoted words; a full YAML library would be a dependency for this alone.
Other YAML is rejected, never misread.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from msgspec import Struct

_KEY = re.compile(r"""("[^"]*"|'[^']*'|[^\s"'\[\]{},#&*!|>%@`-][^\s:#]*)\s*:(?:\s+(.*))?$""")
_QUOTED = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'""")
_DEEPEST = 20
_Lines = list[tuple[int, str]]


class CdiSpec(Struct, frozen=True, kw_only=True):
    """The devices of one file by full name, ``vendor/class=name``, and its paths."""

    devices: tuple[str, ...]
    paths: tuple[str, ...]
    """Every host file, device node and hook passed to a container, without duplicates."""


def read_spec(content: bytes) -> CdiSpec:
    """Parse a spec. Raises ValueError if it is not a CDI spec, or cannot be read."""
    text = content.decode()
    document = json.loads(text) if text.lstrip()[:1] == "{" else _document(text)
    if not isinstance(document, dict) or not {"cdiVersion", "kind"} <= document.keys():
        raise ValueError("it has no cdiVersion and kind")
    devices = [each for each in _items(document, "devices") if isinstance(each, dict)]
    edits = [document.get("containerEdits"), *(each.get("containerEdits") for each in devices)]
    paths = [path for each in edits if isinstance(each, dict) for path in _paths(each)]
    return CdiSpec(
        devices=tuple(f"{document['kind']}={each.get('name')}" for each in devices),
        paths=tuple(dict.fromkeys(path for path in paths if path.startswith("/"))),
    )


def _paths(edits: dict[str, object]) -> Iterator[str]:
    for key, names in (
        # A node without a host path has the same path on the host as in the container.
        ("deviceNodes", ("hostPath", "path")),
        ("mounts", ("hostPath",)),
        ("hooks", ("path",)),
    ):
        for each in _items(edits, key):
            if isinstance(each, dict):
                found = next((each[name] for name in names if each.get(name)), "")
                yield str(found)


def _items(document: dict[str, object], key: str) -> list[object]:
    found = document.get(key)
    return found if isinstance(found, list) else []


def _document(text: str) -> object:
    lines: _Lines = []
    for line in text.split("\n"):
        content = line.strip(" \r")
        if content and content[0] != "#" and line not in ("---", "..."):
            if "\t" in line[: len(line) - len(line.lstrip())]:
                raise ValueError("it is indented by tabs")
            lines.append((len(line) - len(line.lstrip(" ")), content))
    if not lines:
        raise ValueError("it is empty")
    found, end = _block(lines, 0, depth=0)
    if end != len(lines):
        raise ValueError(f"the line {lines[end][1]!r} is indented unexpectedly")
    return found


def _block(lines: _Lines, start: int, *, depth: int) -> tuple[object, int]:
    """Return the block that begins on a line, and the number of the line after it."""
    if depth > _DEEPEST:
        raise ValueError("it is nested too deeply")
    if _is_item(lines[start][1]):
        return _sequence(lines, start, depth)
    return _mapping(lines, start, depth)


def _sequence(lines: _Lines, at: int, depth: int) -> tuple[list[object], int]:
    indent, items = lines[at][0], []
    while at < len(lines) and lines[at][0] == indent and _is_item(lines[at][1]):
        rest = lines[at][1][1:].lstrip()
        if not rest:
            item, at = _nested(lines, at, indent + 1, depth)
        elif _is_item(rest) or _KEY.match(rest):
            lines[at] = (indent + len(lines[at][1]) - len(rest), rest)
            item, at = _block(lines, at, depth=depth + 1)
        else:
            item, at = _scalar(lines, at, rest, indent)
        items.append(item)
    return items, at


def _mapping(lines: _Lines, at: int, depth: int) -> tuple[dict[str, object], int]:
    indent, found = lines[at][0], dict[str, object]()
    while at < len(lines) and lines[at][0] == indent and not _is_item(lines[at][1]):
        match = _KEY.match(lines[at][1])
        if match is None:
            raise ValueError(f"the line {lines[at][1]!r} can't be read")
        key, rest = str(_word(match[1])), (match[2] or "").strip()
        if rest and rest[0] != "#":
            found[key], at = _scalar(lines, at, rest, indent)
        else:
            # The items of a list may be below their key without indentation.
            flush = at + 1 < len(lines) and _is_item(lines[at + 1][1])
            found[key], at = _nested(lines, at, indent if flush else indent + 1, depth)
    return found, at


def _nested(lines: _Lines, at: int, least: int, depth: int) -> tuple[object, int]:
    """Return the block below a line, if it is indented by at least ``least``."""
    if at + 1 < len(lines) and lines[at + 1][0] >= least:
        return _block(lines, at + 1, depth=depth + 1)
    return None, at + 1


def _scalar(lines: _Lines, at: int, word: str, indent: int) -> tuple[object, int]:
    at += 1
    if word[0] in "|>":
        while at < len(lines) and lines[at][0] > indent:
            at += 1
        return word, at
    while at < len(lines) and lines[at][0] > indent:
        word = f"{word} {lines[at][1]}"
        at += 1
    return _word(word), at


def _word(word: str) -> object:
    if word[0] in "\"'":
        match = _QUOTED.match(word)
        if match is None:
            raise ValueError(f"{word} has no closing quote")
        quoted = match[0]
        return json.loads(quoted) if quoted[0] == '"' else quoted[1:-1].replace("''", "'")
    if (word[0] in "{&*!%@`" and word != "{}") or (word[0] == "[" and "{" in word):
        raise ValueError(f"{word} is YAML of a kind that is not supported here")
    return re.split(r"\s#", word, maxsplit=1)[0].rstrip()


def _is_item(content: str) -> bool:
    return content == "-" or content.startswith("- ")
