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
        self.headers: dict[KeyPath, int] = {}
        self.keys: dict[KeyPath, int] = {}
        self.in_section: defaultdict[int, list[int]] = defaultdict(list)
        self._under: dict[KeyPath, list[int]] = {}
        for index, statement in enumerate(self.statements):
            if statement.kind is StatementKind.KEY:
                self.in_section[statement.section].append(index)
                if not statement.in_array:
                    self.keys[statement.path] = index
            elif not statement.in_array:
                self.headers[statement.path] = index

    def under(self, path: KeyPath) -> list[int]:
        """Return the statements at or below a key path, in order."""
        found = self._under.get(path)
        if found is None:
            length = len(path)
            # From the parent's list, so that each level searches less.
            above = self.under(path[:-1]) if length > 1 else range(len(self.statements))
            found = [index for index in above if self.statements[index].path[:length] == path]
            self._under[path] = found
        return found

    def section_path(self, index: int) -> KeyPath:
        """Return the key path of the header above a statement."""
        section = self.statements[index].section
        return self.statements[section].path if section >= 0 else ()

    def dotted(self, path: KeyPath) -> int | None:
        """Return the last dotted key that defines the parent table of ``path``.

        None if a header defines it, or a header of a table below it.
        """
        for length in range(len(path) - 1, 0, -1):
            implied = False
            for index in reversed(self.under(path[:length])):
                statement = self.statements[index]
                if statement.in_array:
                    continue
                if statement.kind is not StatementKind.KEY:
                    implied = True
                elif len(self.section_path(index)) < length < len(statement.path):
                    return index
            if implied:
                return None
        return None

    def after(self, index: int) -> int:
        """Return where to insert text after a statement: after the comments directly below it."""
        place = self.statements[index].end
        end = place
        while end < len(self.text):
            line = self.text[end : line_end(self.text, end)]
            if not line.lstrip().startswith("#"):
                return end if not line.strip() else place
            end += len(line)
        return end

    def before(self, index: int) -> int:
        """Return where to insert text before a statement: before the comments directly above it.

        A comment at the top may be about the file (k0s reads the first line), so it stays first.
        """
        place = self.statements[index].start
        while place > 0:
            start = self.text.rfind("\n", 0, place - 1) + 1
            if not self.text[start:place].lstrip().startswith("#"):
                break
            place = start
        at_top = index == 0 and not self.text[:place].strip()
        return self.statements[index].start if at_top else place

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
        for index in self.under(path[:-1]) if path[:-1] else []:
            statement = self.statements[index]
            if statement.kind is StatementKind.TABLE and len(statement.path) == len(path):
                return statement.indent
        for length in range(len(path) - 1, 0, -1):
            if (found := self.headers.get(path[:length])) is not None:
                return self.statements[found].indent + self.level_step * (len(path) - length)
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
    def _tables(self) -> tuple[Statement, ...]:
        return tuple(self.statements[index] for index in self.headers.values())

    @cached_property
    def blank_habit(self) -> bool:
        """Whether most tables follow a blank line."""
        headers = [
            header
            for header in self._tables
            if header is not self.statements[0] or self.text[: header.start].strip()
        ]
        spaced = sum(self.is_after_blank(header.start) for header in headers)
        return not headers or spaced * 2 >= len(headers)

    @cached_property
    def key_step(self) -> str:
        """The indentation of keys relative to their header."""
        for header in self._tables:
            for index in self.in_section[self.headers[header.path]][:1]:
                return self.statements[index].indent.removeprefix(header.indent)
        return ""

    @cached_property
    def level_step(self) -> str:
        """The indentation of headers relative to the parent table's."""
        for header in self._tables:
            parent = self.headers.get(header.path[:-1])
            if parent is not None:
                return header.indent.removeprefix(self.statements[parent].indent)
        return ""
