"""Output on stdout: coloured lines for a person, one JSON document for a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping

from toolkit.logs import styled, wants_colour
from toolkit.report.layout import Line
from toolkit.settings import Color

SCHEMA = 1
"""Version of the JSON documents, raised when a name goes away or changes its meaning."""

_CODES = {"dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}
"""The looks of a ``Line``, as ``styled`` takes them."""


def print_lines(lines: Iterable[Line], color: Color) -> None:
    """Write lines, in colour if wanted; bytes of a path that are not UTF-8 stay as they are."""
    coloured = wants_colour(color, sys.stdout)
    for line in lines:
        text = _styled(line) if coloured and line.colour else line.text
        sys.stdout.buffer.write(text.encode(errors="surrogateescape") + b"\n")


def print_json(document: Mapping[str, object]) -> None:
    """Write a document with its schema number."""
    sys.stdout.write(json.dumps({"schema": SCHEMA, **document}, indent=2) + "\n")


def _styled(line: Line) -> str:
    cut = len(line.text) if line.letters is None else line.letters
    return styled(line.text[:cut], _CODES[line.colour]) + line.text[cut:]
