"""The positions of an object's members in the text of a JSON document.

The text has to be valid JSON (json has read it before). The time is proportional to its length.
"""

from __future__ import annotations

import json
import re

from msgspec import Struct

_BLANKS = re.compile(r"[ \t\r\n]*+")
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, strict=False)


class Member(Struct, frozen=True):
    """A member of an object; positions are offsets into the text."""

    name: str
    begin: int
    """After the brace or comma before it."""
    start: int
    """Of the name's opening quote."""
    value: int
    end: int
    """Of the value."""
    after: int
    """Of the comma or brace after it."""


def members_of(text: str, start: int) -> list[Member]:
    """Return the members of the object at an offset; none of another value.

    Of several members of one name the last one counts.
    """
    found: list[Member] = []
    begin = start + 1
    while text[start] == "{":
        at = _after_blanks(text, begin)
        if text[at] == "}":
            break
        name, colon = _DECODER.raw_decode(text, at)
        value = _after_blanks(text, _after_blanks(text, colon) + 1)
        _, end = _DECODER.raw_decode(text, value)
        after = _after_blanks(text, end)
        found.append(Member(name, begin, at, value, end, after))
        if text[after] == "}":
            break
        begin = after + 1
    return found


def _after_blanks(text: str, position: int) -> int:
    blanks = _BLANKS.match(text, position)
    return position if blanks is None else blanks.end()
