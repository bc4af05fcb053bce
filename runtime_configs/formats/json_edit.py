"""Edit a JSON document as text: only changed members are touched.

New members follow the last one of their object, in the document's own indentation and newlines.
All other numbers, escapes and repeated names stay as written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import groupby

from runtime_configs.formats.json_spans import JsonNode, Member, scan
from runtime_configs.formats.values import Verbatim, same


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
        members = root.members or []
        indents = [self._indent(each.start) for each in members]
        self.one_line = bool(indents) and indents[0] is None
        own = next((each for each in indents if each is not None), "")
        self.step = own.removeprefix(self._indent_of_line(root.start)) or "  "
        self.colon, self.comma = ": ", ", "
        if self.one_line:
            head = text[members[0].start : members[0].value.start]
            self.colon = head[head.rindex(":") :]
            if len(members) > 1:
                self.comma = text[members[0].value.end : members[1].start].lstrip()
            elif self.colon == ":":
                self.comma = ","

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
        before: Member | None = None
        for is_gone, group in groupby(members, lambda each: each.name in gone):
            run = list(group)
            if not is_gone:
                before = run[-1]
            elif before is not None:
                self.splices.append((before.value.end, run[-1].value.end, ""))
            else:
                self.splices.append((members[0].start, members[len(run)].start, ""))

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
        newline = self.text.rfind("\n", 0, start)
        before = self.text[newline + 1 : start]
        return before if newline >= 0 and not before.strip(" \t") else None

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
