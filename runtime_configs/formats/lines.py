"""Find the line of a file for a message."""

from __future__ import annotations

from runtime_configs.formats import json_spans, toml_outline
from runtime_configs.formats.values import KeyPath
from runtime_configs.model import Format


def line_of(content: bytes, path: KeyPath, format: Format, text: str = "") -> int | None:  # noqa: A002 - the field's word
    """Return the line, counted from 1, of a key path or of its table; None if there is none.

    With ``text``, a part of a value of several lines, it is the line of that part.
    """
    document = content.decode("utf-8", "replace").removeprefix("\ufeff")
    if not document.strip():
        return None
    offset = _in_json(document, path) if format is Format.JSON else _in_toml(document, path, text)
    return None if offset is None else document.count("\n", 0, offset) + 1


def _in_toml(document: str, path: KeyPath, text: str) -> int | None:
    outline = toml_outline.Outline(document)
    for length in range(len(path), 0, -1):
        below = outline.under(path[:length])
        exact = [index for index in below if outline.statements[index].path == path[:length]]
        if not below:
            continue
        statement = outline.statements[(exact or below)[0]]
        start = statement.value_start if text else -1
        found = document.find(text, start, statement.end) if start >= 0 else -1
        at = found if found >= 0 else statement.start
        return at + len(document[at:]) - len(document[at:].lstrip())
    return None


def _in_json(document: str, path: KeyPath) -> int | None:
    node, offset = json_spans.scan(document), None
    for key in path:
        member = node.member(key)
        if member is None:
            break
        node, offset = member.value, member.start
    return offset
