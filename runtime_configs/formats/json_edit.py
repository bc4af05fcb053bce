"""Edit a JSON document as text: only changed members are touched.

New members follow the last one of their object, in the document's own indentation and newlines.
All other numbers, escapes and repeated names stay as written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from runtime_configs.formats.json_spans import JsonNode, Member, scan
from runtime_configs.formats.values import Verbatim, same

_LINE_INDENT = re.compile(r"\n([ \t]*)\Z")


def edited(text: str, old: Mapping[str, object], new: Mapping[str, object]) -> str:
    """Return the text of ``old``, edited to decode to ``new``; the caller checks the result."""
    root = scan(text)
    writer = _Writer(text, root)
    writer.change(root, old, new)
    return writer.spliced()


class _Writer:
    """The text with its style, and the pending splices."""

    def __init__(self, text: str, root: JsonNode) -> None:
        self.text = text
        self.newline = "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
        self.splices: list[tuple[int, int, str]] = []
        first = root.members[0] if root.members else None
        indent = _LINE_INDENT.search(text, 0, first.start) if first else None
        self.step = self._inner_step(root) or "  "
        self.one_line = first is not None and indent is None
        self.colon = ": "
        self.comma = ", "
        if first is not None and self.one_line:
            head = self.text[first.start : first.value.start]
            self.colon = head[head.rindex(":") :]
            between = root.members[1].start if root.members and len(root.members) > 1 else -1
            gap = self.text[first.value.end : between].lstrip() if between >= 0 else ", "
            self.comma = gap if between >= 0 or self.colon != ":" else ","

    def _inner_step(self, root: JsonNode) -> str:
        """Return the indentation of a member relative to the line that opens its object."""
        for member in root.members or ():
            if (match := _LINE_INDENT.search(self.text, 0, member.start)) is not None:
                line = self.text[self.text.rfind("\n", 0, root.start) + 1 : root.start]
                return match.group(1).removeprefix(line[: len(line) - len(line.lstrip())])
        return ""

    def change(self, node: JsonNode, old: Mapping[str, object], new: Mapping[str, object]) -> None:
        """Collect the splices inside an object."""
        members = node.members or []
        gone = {name for name in old if name not in new}
        added = [(name, value) for name, value in new.items() if name not in old]
        for name, value in new.items():
            if name not in old or same(old[name], value):
                continue
            member, was = node.member(name), old[name]
            if member is None:
                continue
            if isinstance(was, Mapping) and isinstance(value, Mapping):
                self.change(member.value, was, value)
            else:
                indent = self._indent(member.start)
                self.splices.append(
                    (member.value.start, member.value.end, self.rendered(value, indent))
                )
        kept = [member for member in members if member.name not in gone]
        if gone and not kept:
            self._replace_all(node, added)
            return
        self._cut(members, gone)
        if added:
            self._append(node, kept, added)

    def _replace_all(self, node: JsonNode, added: list[tuple[str, object]]) -> None:
        if not added:
            self.splices.append((node.start, node.end, "{}"))
            return
        members = node.members or []
        start, end = members[0].start, members[-1].value.end
        indent = self._indent(start)
        self.splices.append((start, end, self._joined(added, indent)))

    def _cut(self, members: list[Member], gone: set[str]) -> None:
        """Remove members, each with the comma before it (the first ones: after it)."""
        kept_before: Member | None = None
        index = 0
        while index < len(members):
            if members[index].name not in gone:
                kept_before = members[index]
                index += 1
                continue
            stop = index
            while stop < len(members) and members[stop].name in gone:
                stop += 1
            if kept_before is not None:
                self.splices.append((kept_before.value.end, members[stop - 1].value.end, ""))
            else:
                self.splices.append((members[index].start, members[stop].start, ""))
            index = stop

    def _append(self, node: JsonNode, kept: list[Member], added: list[tuple[str, object]]) -> None:
        if kept:
            last = kept[-1]
            indent = self._indent(last.start)
            gap = self.comma if indent is None else f",{self.newline}{indent}"
            place = (node.members or [last])[-1].value.end
            self.splices.append((place, place, gap + self._joined(added, indent)))
            return
        if self.one_line:
            self.splices.append((node.start, node.end, "{" + self._joined(added, None) + "}"))
            return
        outer = self._indent_of_line(node.start)
        indent = outer + self.step
        inside = f"{self.newline}{indent}{self._joined(added, indent)}{self.newline}{outer}"
        self.splices.append((node.start, node.end, "{" + inside + "}"))

    def _joined(self, pairs: list[tuple[str, object]], indent: str | None) -> str:
        gap = self.comma if indent is None else f",{self.newline}{indent}"
        return gap.join(
            f"{json.dumps(name, ensure_ascii=False)}{self.colon}{self.rendered(value, indent)}"
            for name, value in pairs
        )

    def rendered(self, value: object, indent: str | None) -> str:
        """Return a value in the document's style; without indentation on one line."""
        match value:
            case Verbatim():
                return str(value)
            case Mapping():
                pairs = [(str(name), inner) for name, inner in value.items()]
                opening, closing, inner_indent = self._brackets("{}", indent, len(pairs))
                return opening + self._joined(pairs, inner_indent) + closing
            case list() | tuple():
                opening, closing, inner_indent = self._brackets("[]", indent, len(value))
                gap = self.comma if indent is None else f",{self.newline}{inner_indent}"
                return opening + gap.join(self.rendered(v, inner_indent) for v in value) + closing
            case _:
                return json.dumps(value, ensure_ascii=False, allow_nan=False)

    def _brackets(self, pair: str, indent: str | None, count: int) -> tuple[str, str, str | None]:
        if indent is None or not count:
            return pair[0], pair[1], indent
        inner = indent + self.step
        return f"{pair[0]}{self.newline}{inner}", f"{self.newline}{indent}{pair[1]}", inner

    def _indent(self, start: int) -> str | None:
        """Return the indentation of a member; None if it shares a line with others."""
        match = _LINE_INDENT.search(self.text, max(0, self.text.rfind("\n", 0, start)), start)
        return match.group(1) if match is not None else None

    def _indent_of_line(self, position: int) -> str:
        line = self.text[self.text.rfind("\n", 0, position) + 1 : position]
        return line[: len(line) - len(line.lstrip(" \t"))]

    def spliced(self) -> str:
        pieces: list[str] = []
        position = 0
        for start, end, text in sorted(self.splices):
            pieces += [self.text[position:start], text]
            position = end
        return "".join([*pieces, self.text[position:]])
