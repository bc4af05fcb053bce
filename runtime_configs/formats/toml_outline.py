"""The outline of a TOML document: which statement defines which table, where to insert text."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property

from runtime_configs.formats.toml_spans import Statement, StatementKind, line_end, scan
from runtime_configs.formats.toml_text import key_text
from runtime_configs.formats.values import KeyPath


class Outline:
    """A document's statements by key path, and its style."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.statements = scan(text)
        self.newline = "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
        self.headers: dict[KeyPath, Statement] = {}
        self.keys: dict[KeyPath, Statement] = {}
        self.below: defaultdict[KeyPath, list[Statement]] = defaultdict(list)
        """The keys of each header; above the first one under an empty path."""
        self._under: dict[KeyPath, list[Statement]] = {}
        for each in self.statements:
            if each.in_array:
                continue
            if each.kind is StatementKind.KEY:
                self.keys[each.path] = each
                self.below[each.header].append(each)
            else:
                self.headers[each.path] = each

    def under(self, path: KeyPath) -> list[Statement]:
        """Return the statements at or below a key path, in order."""
        found = self._under.get(path)
        if found is None:
            length = len(path)
            # From the parent's list, so that each level searches less.
            above = self.under(path[:-1]) if length > 1 else self.statements
            found = [each for each in above if each.path[:length] == path]
            self._under[path] = found
        return found

    def dotted(self, path: KeyPath) -> Statement | None:
        """Return the last dotted key that defines the parent table of ``path``.

        None if a header defines it, or a header of a table below it.
        """
        for length in range(len(path) - 1, 0, -1):
            implied = False
            for each in reversed(self.under(path[:length])):
                if each.in_array:
                    continue
                if each.kind is not StatementKind.KEY:
                    implied = True
                elif len(each.header) < length < len(each.path):
                    return each
            if implied:
                return None
        return None

    def after(self, statement: Statement) -> int:
        """Return where to insert text after a statement: after the comments directly below it."""
        place = end = statement.end
        while end < len(self.text):
            line = self.text[end : line_end(self.text, end)]
            if not line.lstrip().startswith("#"):
                return end if not line.strip() else place
            end += len(line)
        return end

    def before(self, statement: Statement) -> int:
        """Return where to insert text before a statement: before the comments directly above it.

        A comment at the top may be about the file (k0s reads the first line), so it stays first.
        """
        place = statement.start
        while place > 0:
            start = self.text.rfind("\n", 0, place - 1) + 1
            if not self.text[start:place].lstrip().startswith("#"):
                break
            place = start
        at_top = statement is self.statements[0] and not self.text[:place].strip()
        return statement.start if at_top else place

    def end_of_group(self, path: KeyPath) -> int:
        """Return where to insert a new table: after the last one with the same parent."""
        for length in range(len(path) - 1, 0, -1):
            if group := self.under(path[:length]):
                return self.after(group[-1])
        return len(self.text)

    def is_after_blank(self, place: int) -> bool:
        """Return whether the line above is blank."""
        return self.text.endswith(("\n\n", "\n\r\n"), 0, place)

    def spelled(self, path: KeyPath) -> str:
        """Return a key in the document's style."""
        return ".".join(self._spellings.get(part) or key_text(part) for part in path)

    def indent_of(self, path: KeyPath) -> str:
        """Return the indentation of a new header: that of its siblings, else by its parents'."""
        for each in self.under(path[:-1]) if path[:-1] else []:
            if each.kind is StatementKind.TABLE and len(each.path) == len(path):
                return each.indent
        for length in range(len(path) - 1, 0, -1):
            if (found := self.headers.get(path[:length])) is not None:
                return found.indent + self.level_step * (len(path) - length)
        return ""

    @cached_property
    def _spellings(self) -> dict[str, str]:
        """How this document writes the quoted parts of keys.

        Without escapes: containerd 1.6 does not decode those of a header (measured).
        """
        spellings: dict[str, str] = {}
        for statement in self.statements:
            if all(raw[0] not in "'\"" for raw in statement.spelling):
                continue
            own = statement.path[-len(statement.spelling) :]
            spellings |= {
                name: raw
                for name, raw in zip(own, statement.spelling, strict=True)
                if raw[0] in "'\"" and "\\" not in raw and name not in spellings
                if key_text(name) != name
            }
        return spellings

    @cached_property
    def blank_habit(self) -> bool:
        """Whether most tables follow a blank line."""
        headers = [
            header
            for header in self.headers.values()
            if header is not self.statements[0] or self.text[: header.start].strip()
        ]
        spaced = sum(self.is_after_blank(header.start) for header in headers)
        return not headers or spaced * 2 >= len(headers)

    @cached_property
    def key_step(self) -> str:
        """The indentation of keys relative to their header."""
        for path, header in self.headers.items():
            for first in self.below[path][:1]:
                return first.indent.removeprefix(header.indent)
        return ""

    @cached_property
    def level_step(self) -> str:
        """The indentation of headers relative to the parent table's."""
        for path, header in self.headers.items():
            if (parent := self.headers.get(path[:-1])) is not None:
                return header.indent.removeprefix(parent.indent)
        return ""
