"""Turn a template with ``{{ … }}`` into TOML, and back.

Directives on their own lines become comments, and so does everything after an ``else``, which would
repeat keys. A value with a directive becomes a string.
"""

from __future__ import annotations

import re
from typing import Final

_LINE_MARK: Final = "#\ue000"
_OPEN_MARK, _CLOSE_MARK = "'''\ue001", "\ue002'''"
_QUOTED = r""""(?:[^"\\\n]++|\\.)*+"|`[^`]*+`|'(?:[^'\\\n]++|\\.)*+'"""
_COMMENT = r"/\*(?:[^*{]++|\*(?!/)|\{(?!\{-?\s*+/\*))*+\*/"
_ACTION = rf"\{{\{{(?:-?\s*+{_COMMENT}\s*+-?|(?:{_QUOTED}|[^\"`'{{}}]++)*+)\}}\}}"
_ACTIONS = re.compile(_ACTION, re.DOTALL)
_ROW = re.compile(rf"(?:{_ACTION}|[^\n])*+\n?", re.DOTALL)
"""A line, or several lines with one ``{{ … }}`` across them."""
_WORD = re.compile(r"\{\{-?\s*+([a-z]++)")
_BLOCKS: Final = ("if", "range", "with", "define", "block")
_STRING = rf""""(?:{_ACTION}|[^"\\\n]|\\.)*+"|'(?:{_ACTION}|[^'\n])*+'"""
_PLAIN_STRING = re.compile(r""""[^"\\\n]*+"|'[^'\n]*+'""")
_KEY = re.compile(
    rf"([ \t]*+(?:(?:{_STRING}|[A-Za-z0-9_-]++)[ \t]*+\.?[ \t]*+)++=[ \t]*+)"
    rf"((?:{_STRING}|{_ACTION}|[^\#\n])*+)",
    re.DOTALL,
)
_HEADER = re.compile(
    rf"""([ \t]*+\[++(?:{_STRING}|[^"'\n\]{{])*+\]++[ \t]*+)(?=\{{\{{)""", re.DOTALL
)


def masked(text: bytes) -> bytes:
    """Return a template as TOML. The result may not parse."""
    found: list[str] = []
    others: list[bool] = []
    for row in _ROW.findall(text.decode("utf-8", "surrogateescape")):
        hidden = any(others)
        for action in _ACTIONS.findall(row):
            _follow(action, others)
        found.append(_commented(row) if hidden or _is_directive(row) else _row(row))
    return "".join(found).encode("utf-8", "surrogateescape")


def unmasked(text: bytes) -> bytes:
    """Return the template of a masked text."""
    found = text.decode("utf-8", "surrogateescape")
    for mark in (_LINE_MARK, _OPEN_MARK, _CLOSE_MARK):
        found = found.replace(mark, "")
    return found.encode("utf-8", "surrogateescape")


def directives(text: bytes) -> bytes:
    """Return the lines that are directives, such as the one for the distribution's base."""
    return b"".join(
        line for line in text.splitlines(keepends=True) if line.lstrip().startswith(b"{{")
    )


def _follow(action: str, others: list[bool]) -> None:
    """Update the open blocks: whether their ``else`` was read."""
    word = _WORD.match(action)
    name = "" if word is None else word[1]
    if name in _BLOCKS:
        others.append(False)
    elif name == "else" and others:
        others[-1] = True
    elif name == "end" and others:
        others.pop()


def _is_directive(row: str) -> bool:
    """Return whether a row has only directives, or one with all that depends on it."""
    text = row.strip()
    if not text.startswith("{{"):
        return False
    return text.endswith("}}") or _ACTIONS.sub("", text).strip() == ","


def _commented(row: str) -> str:
    return "".join(_LINE_MARK + line for line in row.splitlines(keepends=True))


def _row(row: str) -> str:
    """Return a row of TOML; a value with a directive becomes a string."""
    if "{{" not in row:
        return row
    if (header := _HEADER.match(row)) is not None:
        return header[1] + _LINE_MARK + row[header.end() :]
    if (pair := _KEY.match(row)) is None:
        return row
    value = pair[2].rstrip()
    if "{{" not in value or "'''" in value or _PLAIN_STRING.fullmatch(value):
        return row
    end = pair.start(2) + len(value)
    return f"{pair[1]}{_OPEN_MARK}{value}{_CLOSE_MARK}{row[end:]}"
