"""Find the line of a file for a message."""

from __future__ import annotations

from runtime_configs.formats import json_spans, toml_spans
from runtime_configs.formats.values import KeyPath
from runtime_configs.model import Format


def line_of(content: bytes, path: KeyPath, format: Format, text: str = "") -> int | None:
    """Return the line, counted from 1, of a key path or of its table; None if there is none.

    With ``text``, a part of a value of several lines, it is the line of that part.
    """
    document = content.decode("utf-8", "replace").removeprefix("\ufeff")
    if not document.strip():
        return None
    offset = _in_json(document, path) if format is Format.JSON else _in_toml(document, path, text)
    return None if offset is None else document.count("\n", 0, offset) + 1


def _in_toml(document: str, path: KeyPath, text: str) -> int | None:
    statements = toml_spans.scan(document)
    for length in range(len(path), 0, -1):
        below = [each for each in statements if each.path[:length] == path[:length]]
        if not below:
            continue
        statement = next((each for each in below if len(each.path) == length), below[0])
        start = statement.value_start if text else -1
        found = document.find(text, start, statement.end) if start >= 0 else -1
        return found if found >= 0 else statement.start + len(statement.indent)
    return None


def _in_json(document: str, path: KeyPath) -> int | None:
    value, offset = document.index("{"), None
    for key in path:
        named = [each for each in json_spans.members_of(document, value) if each.name == key]
        if not named:
            break
        value, offset = named[-1].value, named[-1].start
    return offset
