"""Tables of a Go template that give way to those which k3s and RKE2 add by themselves.

Which handlers they add changes with their releases and with what is installed on the node, and a
table that stands in the rendered file twice keeps containerd from starting.
"""

from __future__ import annotations

import re
from typing import Final

_START: Final = (b'{{ if not (index .ExtraRuntimes "', b'").BinaryName }}\n')
"""Every release that has a base has this map, and an empty value for a name that is not in it
(``ContainerdConfig`` in ``pkg/agent/templates/templates.go``)."""
_END: Final = b"{{ end }}\n"
_SECTION = re.compile(
    rb"^\n?"
    + re.escape(_START[0])
    + rb'([^"\n]+)'
    + re.escape(_START[1])
    + rb"((?:(?!\{\{).*\n)*?)"
    + re.escape(_END),
    re.MULTILINE,
)
_HEADER = re.compile(rb"^[ \t]*\[+(.*)\]", re.MULTILINE)


def section(name: str, table: str) -> str:
    """Return a handler's table as one that is left out where the distribution adds the handler."""
    start, rest = (each.decode() for each in _START)
    return f"{start}{name}{rest}{table}{_END.decode()}"


def without_sections(text: bytes) -> bytes | None:
    """Return a template without such tables; None where somebody put one of theirs into them."""
    sections = _SECTION.findall(text)
    if text.count(_START[0]) != len(sections) or not all(_only(*each) for each in sections):
        return None
    return _SECTION.sub(b"", text)


def _only(name: bytes, table: bytes) -> bool:
    own = re.compile(rb"""runtimes\s*\.\s*["']?""" + re.escape(name) + rb"""["']?\s*(\.|$)""")
    return all(own.search(header) for header in _HEADER.findall(table))
