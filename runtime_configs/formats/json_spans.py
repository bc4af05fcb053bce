"""The positions of members in the text of a JSON document.

The text has to be valid JSON (json has read it before). The time is proportional to its length.
"""

from __future__ import annotations

import json
import re

from msgspec import Struct

_TOKEN = re.compile(
    r'[ \t\r\n]*+("(?:[^"\\]++|\\.)*+"|[{}\[\]:,]|[^ \t\r\n{}\[\]:,"]++)', re.DOTALL
)


class JsonNode(Struct):
    """A value with its span; an object with its members, the last one of a name counts."""

    start: int
    end: int = -1
    members: list[Member] | None = None
    """None if it is no object."""

    def member(self, name: str) -> Member | None:
        """Return the member that counts."""
        return next((m for m in reversed(self.members or ()) if m.name == name), None)


class Member(Struct):
    """A name with its value; ``start`` is the offset of the name's opening quote."""

    name: str
    start: int
    value: JsonNode


def scan(text: str) -> JsonNode:
    """Return the top-level value of a valid JSON document."""
    root: JsonNode | None = None
    open_nodes: list[JsonNode] = []
    name: tuple[str, int] | None = None
    position = 0
    while (token := _TOKEN.match(text, position)) is not None:
        piece, start, position = token.group(1), token.start(1), token.end()
        if piece in "}]":
            open_nodes.pop().end = position
            continue
        if piece in ":,":
            continue
        holder = open_nodes[-1] if open_nodes else None
        if holder is not None and holder.members is not None and name is None:
            name = (json.loads(piece, strict=False), start)
            continue
        node = JsonNode(start, position, [] if piece == "{" else None)
        root = root or node
        if holder is not None and holder.members is not None and name is not None:
            holder.members.append(Member(name[0], name[1], node))
            name = None
        if piece in "{[":
            open_nodes.append(node)
    if root is None:
        raise ValueError("no value")
    return root
