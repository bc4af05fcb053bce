"""Tables of a Go template that are left out if k3s or RKE2 add the handler themselves.

The handlers that they add depend on the release and on the node's binaries. containerd does not
start if the rendered file has the same table twice.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Final

from msgspec import Struct

_START: Final = (b'{{ if not (index .ExtraRuntimes "', b'").BinaryName }}\n')
"""Every release that has a base has this map, and an empty value for a name that is not in it
(``ContainerdConfig`` in ``pkg/agent/templates/templates.go``)."""
_END: Final = b"{{ end }}\n"
_OPENS = re.compile(
    rb'''^[ \t]*\{\{-?[ \t]*if[ \t]+not[ \t]+\([ \t]*index[ \t]+\.ExtraRuntimes[ \t]+"([^"\n]+)"'''
    rb"""[ \t]*\)\.BinaryName[ \t]*-?\}\}[ \t]*\r?\n""",
    re.MULTILINE,
)
_ACTION = re.compile(
    rb"""\{\{-?\s*(?:/\*.*?\*/|(\w*)(?:"(?:[^"\\\n]|\\.)*"|`[^`]*`|[^"`}])*)-?\}\}""", re.DOTALL
)
_BLOCKS: Final = (b"if", b"range", b"with", b"define", b"block")
_HEADER = re.compile(rb"^[ \t]*\[+(.*)\]", re.MULTILINE)


class _Section(Struct, frozen=True):
    """A condition on one handler's name: its start, end and content."""

    name: bytes
    start: int
    end: int
    opening: bytes
    body: bytes
    closing: bytes


def section(name: str, table: str) -> str:
    """Return a handler's table, left out if the distribution adds the handler."""
    start, rest = (each.decode() for each in _START)
    return f"{start}{name}{rest}{table}{_END.decode()}"


def names(text: bytes) -> frozenset[bytes]:
    """Return the handlers with such tables in a template."""
    return frozenset(each.name for each in _sections(text) if not _others(each).strip())


def without_sections(text: bytes, chosen: Collection[bytes] | None = None) -> bytes:
    """Return a template without such tables, or without those of some handlers.

    A condition with added content stays, with that content.
    """
    return _edited(text, chosen, unwrapped=False)


def without_conditions(text: bytes, chosen: Collection[bytes]) -> bytes:
    """Return a template with such tables as unconditional ones."""
    return _edited(text, chosen, unwrapped=True)


def _edited(text: bytes, chosen: Collection[bytes] | None, *, unwrapped: bool) -> bytes:
    pieces, position = [], 0
    for each in _sections(text):
        others = _others(each)
        if (chosen is not None and each.name not in chosen) or others == each.body:
            continue
        start = each.start
        if others.strip():
            instead = each.opening + others + each.closing
        elif unwrapped:
            instead = each.body
        else:
            instead = b""
            start -= _blank_before(text, start)
        pieces += [text[position:start], instead]
        position = each.end
    return b"".join([*pieces, text[position:]])


def _blank_before(text: bytes, start: int) -> int:
    """Return the length of the empty line above, which belongs to a table."""
    for empty in (b"\r\n", b"\n"):
        above = start - len(empty)
        if text[:start].endswith(empty) and (above == 0 or text[above - 1 : above] == b"\n"):
            return len(empty)
    return 0


def _sections(text: bytes) -> Iterator[_Section]:
    position = 0
    while (opening := _OPENS.search(text, position)) is not None:
        position = opening.end()
        closing = _closing(text, position)
        if closing is None:
            continue
        start = text.rfind(b"\n", 0, closing.start()) + 1
        line_end = text.find(b"\n", closing.end())
        end = len(text) if line_end < 0 else line_end + 1
        if (text[start : closing.start()] + text[closing.end() : end]).strip():
            continue
        yield _Section(
            opening[1], opening.start(), end, opening[0], text[position:start], text[start:end]
        )
        position = end


def _closing(text: bytes, position: int) -> re.Match[bytes] | None:
    depth = 1
    for action in _ACTION.finditer(text, position):
        depth += _step(action[1])
        if depth == 0:
            return action
    return None


def _step(word: bytes) -> int:
    return 1 if word in _BLOCKS else -1 if word == b"end" else 0


def _others(found: _Section) -> bytes:
    """Return what a condition contains other than the handler's own tables."""
    own = re.compile(rb"""runtimes\s*\.\s*["']?""" + re.escape(found.name) + rb"""["']?\s*(\.|$)""")
    kept: list[bytes] = []
    comments: list[bytes] = []
    theirs, otherwise, part = False, False, b""
    for line in found.body.splitlines(keepends=True):
        part += line
        words = [action[1] for action in _ACTION.finditer(part)]
        if sum(map(_step, words)) > 0:
            continue
        headers = _HEADER.findall(part)
        otherwise = otherwise or words[:1] == [b"else"]
        if headers or otherwise:
            theirs = otherwise or not all(own.search(each) for each in headers)
        if theirs:
            kept += [*comments, part]
        comments = [*comments, part] if not theirs and part.lstrip().startswith(b"#") else []
        part = b""
    return b"".join([*kept, part])
