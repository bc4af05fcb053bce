"""A TOML document edited in its text: only the lines of keys that change are touched.

New keys follow their table's last key, new tables the tables that they belong to, both in the
document's own indentation, blank lines and newlines. Comments of their own line always stay.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property

from runtime_configs.toml_spans import Kind, Statement, scan
from runtime_configs.toml_text import key_text, rewritten, value_text
from runtime_configs.values import MISSING, KeyPath, Table, differences, lookup


class NotSpliceableError(Exception):
    """A change that has no place of its own in the text."""


def edited(text: str, old: Mapping[str, object], new: Mapping[str, object]) -> str:
    """Return the text, which means ``old``, changed to mean ``new``; the caller has to check.

    Raises NotSpliceableError where a change lies inside an array of tables.
    """
    return _Document(text).edited(old, new)


class _Document:
    """The text with its statements, and the splices that are to be made."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.statements = scan(text)
        self.newline = "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
        self.headers: dict[KeyPath, int] = {}
        self.keys: dict[KeyPath, int] = {}
        self.under: defaultdict[KeyPath, list[int]] = defaultdict(list)
        self.in_section: defaultdict[int, list[int]] = defaultdict(list)
        for index, statement in enumerate(self.statements):
            for length in range(1, len(statement.path) + 1):
                self.under[statement.path[:length]].append(index)
            if statement.kind is Kind.KEY:
                self.in_section[statement.section].append(index)
            if not statement.in_array and statement.kind is not Kind.ARRAY:
                table = self.keys if statement.kind is Kind.KEY else self.headers
                table[statement.path] = index
        self.insertions: defaultdict[int, list[str]] = defaultdict(list)
        self.replacements: list[tuple[int, int, str]] = []
        self.deleted: set[int] = set()
        self.indents: dict[KeyPath, str] = {}
        """Of the headers that are added."""

    def edited(self, old: Mapping[str, object], new: Mapping[str, object]) -> str:
        added: dict[KeyPath, Table] = {}
        tables: list[tuple[KeyPath, Mapping[str, object]]] = []
        for path, was, will in self._changes(old, new):
            if was is not MISSING:
                if self._replaced(path, was, will):
                    continue
                self._delete(path)
            if will is not MISSING:
                if isinstance(will, Mapping) and self._dotted(path) is None:
                    tables.append((path, will))
                else:
                    added.setdefault(path[:-1], {})[path[-1]] = will
        # Keys outside of any table come first where both go to the same place.
        for parent, pairs in sorted(added.items(), key=lambda item: len(item[0])):
            self._add_keys(parent, pairs)
        for path, table in tables:
            place = self._end_of_group(path)
            for inner, pairs in _sections(path, table):
                text = self._table_text(inner, pairs, place)
                self.insertions[place].append(text)
        return self._spliced()

    def _changes(
        self, old: Mapping[str, object], new: Mapping[str, object]
    ) -> Iterator[tuple[KeyPath, object, object]]:
        """Yield the differences, an inline table's as one."""
        inline: set[KeyPath] = set()
        for step in differences(old, new):
            holder = next(
                (step.path[:n] for n in range(1, len(step.path)) if step.path[:n] in self.keys),
                None,
            )
            if holder is None:
                yield step.path, step.old, step.new
            elif holder not in inline:
                inline.add(holder)
                yield holder, lookup(old, holder), lookup(new, holder)

    def _replaced(self, path: KeyPath, was: object, will: object) -> bool:
        """Put a new value where the old one stands, if that is possible."""
        index = self.keys.get(path)
        if will is MISSING or index is None:
            return False
        if isinstance(will, Mapping) and not isinstance(was, Mapping):
            return False
        statement = self.statements[index]
        text = self.text[statement.value_start : statement.value_end]
        value = rewritten(text, was, will, self.newline)
        self.replacements.append((statement.value_start, statement.value_end, value))
        return True

    def _delete(self, path: KeyPath) -> None:
        indexes = self.under.get(path, [])
        if not indexes:
            raise NotSpliceableError(path)
        self.deleted.update(indexes)

    def _add_keys(self, parent: KeyPath, pairs: Table) -> None:
        """Add keys to a table that is there, in the form in which it is there."""
        dotted = self._dotted((*parent, ""))
        if dotted is not None:
            place = self.statements[dotted].end
            section = self.statements[dotted].section
            base = self.statements[section].path if section >= 0 else ()
            indent = self.statements[dotted].indent
            flat = _flattened(parent[len(base) :], pairs)
            lines = [self._line(indent, self._spelled(path, len(base)), v) for path, v in flat]
            self.insertions[place] += lines
            return
        section = self.headers.get(parent, -1)
        members = self.in_section[section]
        if parent and section < 0:
            self._add_header(parent, pairs)
        elif members:
            last = self.statements[members[-1]]
            place = last.end if section >= 0 else self._after(members[-1])
            self.insertions[place] += self._lines(last.indent, pairs)
        elif section >= 0:
            header = self.statements[section]
            indent = header.indent + self._key_step
            self.insertions[header.end] += self._lines(indent, pairs)
        else:
            self._add_first_keys(pairs)

    def _add_header(self, parent: KeyPath, pairs: Table) -> None:
        """Spell a table out that was only implied by the tables below it."""
        indexes = self.under.get(parent, [])
        if not indexes or self.statements[indexes[0]].in_array:
            raise NotSpliceableError(parent)
        place = self._before(indexes[0])
        text = self._table_text(parent, pairs, place).removeprefix(self.newline)
        self.insertions[place].append(text + (self.newline if self._blank_habit else ""))

    def _add_first_keys(self, pairs: Table) -> None:
        """Add the document's first keys outside of any table."""
        lines = self._lines("", pairs)
        if not self.statements:
            self.insertions[len(self.text)] += lines
            return
        self.insertions[self._before(0)] += [*lines, self.newline]

    def _dotted(self, path: KeyPath) -> int | None:
        """Return the last dotted key that makes the table which ``path`` would stand in."""
        for length in range(len(path) - 1, 0, -1):
            for index in reversed(self.under.get(path[:length], [])):
                statement = self.statements[index]
                if statement.kind is not Kind.KEY or statement.in_array:
                    continue
                above = self.statements[statement.section].path if statement.section >= 0 else ()
                if len(above) < length < len(statement.path):
                    return index
            if path[:length] in self.headers:
                return None
        return None

    def _table_text(self, path: KeyPath, pairs: Mapping[str, object], place: int) -> str:
        indent = self.indents[path] = self._header_indent(path)
        key_indent = indent + self._key_step
        header = f"{indent}[{'.'.join(self._spelled(path, 0))}]{self.newline}"
        first = not self.text[:place].strip() and not self.insertions.get(place)
        after_blank = self.text.endswith(("\n\n", "\n\r\n"), 0, place) and not self.insertions.get(
            place
        )
        blank = "" if first or after_blank or not self._blank_habit else self.newline
        return blank + header + "".join(self._lines(key_indent, pairs))

    def _lines(self, indent: str, pairs: Mapping[str, object]) -> list[str]:
        return [
            self._line(indent, [self._spellings.get(k) or key_text(k)], v) for k, v in pairs.items()
        ]

    def _line(self, indent: str, key: list[str], value: object) -> str:
        return f"{indent}{'.'.join(key)} = {value_text(value)}{self.newline}"

    def _spelled(self, path: KeyPath, base: int) -> list[str]:
        return [self._spellings.get(part) or key_text(part) for part in path[base:]]

    @cached_property
    def _spellings(self) -> dict[str, str]:
        """How this document writes a key's part where it has to be quoted."""
        spellings: dict[str, str] = {}
        for statement in self.statements:
            own = statement.path[-len(statement.spelling) :]
            spellings |= {
                name: raw
                for name, raw in zip(own, statement.spelling, strict=True)
                if raw[0] in "'\"" and name not in spellings and key_text(name) != name
            }
        return spellings

    @cached_property
    def _tables(self) -> tuple[Statement, ...]:
        return tuple(self.statements[index] for index in self.headers.values())

    @cached_property
    def _blank_habit(self) -> bool:
        headers = [s for s in self._tables if self.text[: s.start].strip()][:100]
        spaced = sum(self.text.endswith(("\n\n", "\n\r\n"), 0, s.start) for s in headers)
        return not headers or spaced * 2 >= len(headers)

    @cached_property
    def _key_step(self) -> str:
        """What a key's indentation has more than its header's."""
        for header in self._tables:
            for index in self.in_section[self.headers[header.path]][:1]:
                return self.statements[index].indent.removeprefix(header.indent)
        return ""

    @cached_property
    def _level_step(self) -> str:
        """What a header's indentation has more than that of the table it belongs to."""
        for header in self._tables:
            parent = self.headers.get(header.path[:-1])
            if parent is not None:
                return header.indent.removeprefix(self.statements[parent].indent)
        return ""

    def _header_indent(self, path: KeyPath) -> str:
        for index in self.under.get(path[:-1], []) if path[:-1] else []:
            statement = self.statements[index]
            if statement.kind is Kind.TABLE and len(statement.path) == len(path):
                return statement.indent
        for length in range(len(path) - 1, 0, -1):
            above = self.indents.get(path[:length])
            if above is None and (found := self.headers.get(path[:length])) is not None:
                above = self.statements[found].indent
            if above is not None:
                return above + self._level_step * (len(path) - length)
        return ""

    def _end_of_group(self, path: KeyPath) -> int:
        for length in range(len(path) - 1, 0, -1):
            if path[:length] in self.under:
                return self._after(self.under[path[:length]][-1])
        return len(self.text)

    def _after(self, index: int) -> int:
        """Return where text behind a statement goes: behind comments that follow at once."""
        place = self.statements[index].end
        end = place
        while end < len(self.text):
            line = self.text[end : _line_end(self.text, end)]
            if not line.lstrip().startswith("#"):
                return end if not line.strip() else place
            end += len(line)
        return end

    def _before(self, index: int) -> int:
        """Return where text before a statement goes: before comments that lead up to it.

        A comment at the very top may speak of the file (k0s reads the first line): it stays first.
        """
        place = self.statements[index].start
        while place > 0:
            start = self.text.rfind("\n", 0, place - 1) + 1
            if not self.text[start:place].lstrip().startswith("#"):
                break
            place = start
        return place if self.text[:place].strip() else self.statements[index].start

    def _spliced(self) -> str:
        splices = [(start, end, 1, value) for start, end, value in self.replacements]
        splices += [(start, end, 2, "") for start, end in self._deletions()]
        for place, texts in self.insertions.items():
            text = "".join(texts)
            if place == len(self.text) and self.text and not self.text.endswith("\n"):
                text = self.newline + text.removesuffix(self.newline)
            splices.append((place, place, 0, text))
        pieces: list[str] = []
        position = 0
        for start, end, _, text in sorted(splices):
            pieces += [self.text[position:start], text]
            position = max(position, end)
        return "".join([*pieces, self.text[position:]])

    def _deletions(self) -> Iterator[tuple[int, int]]:
        """Yield the line spans to be cut, each with one of two blank lines that would meet."""
        spans: list[tuple[int, int]] = []
        for index in sorted(self.deleted):
            start, end = self.statements[index].start, self.statements[index].end
            if spans and spans[-1][1] == start:
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((start, end))
        floor = 0
        for first, last in spans:
            start, end = first, last
            above = self.text.rfind("\n", floor, max(start - 1, floor)) + 1 or floor
            below = self.text[end : _line_end(self.text, end)]
            blank_above = start > floor and not self.text[above:start].strip()
            if not below.strip() and end not in self.insertions:
                if blank_above:
                    start = above
                elif start == 0:
                    end += len(below)
            yield start, end
            floor = end


def _sections(path: KeyPath, table: Mapping[str, object]) -> Iterator[tuple[KeyPath, Table]]:
    """Yield the tables that have to be spelled out for a table with those below it."""
    own = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    if own or not table:
        yield path, own
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _sections((*path, key), value)


def _flattened(path: KeyPath, pairs: Mapping[str, object]) -> Iterator[tuple[KeyPath, object]]:
    for key, value in pairs.items():
        if isinstance(value, Mapping) and value:
            yield from _flattened((*path, key), value)
        else:
            yield (*path, key), value


def _line_end(text: str, position: int) -> int:
    newline = text.find("\n", position)
    return len(text) if newline < 0 else newline + 1
