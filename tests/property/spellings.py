"""One config in many spellings: headers, inline tables, dotted keys, quotes, order, comments."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hypothesis import strategies as st

Table = Mapping[str, object]
NOISE = (
    "huge = 123456789012345678901234567890",
    "float = 6.02e23",
    "when = 1979-05-27 07:32:00Z",
    'text = """\n[plugins]\nversion = 9 # "quoted"\n[[x]]\n"""',
    "raw = '''\n[plugins.\"io.containerd.grpc.v1.cri\"]\n'''",
    'dots = "a.b.c = [1]"',
    "list = [ # [plugins]\n  'a', # b\n  {c = 1},\n]",
)
COMMENTS = ("", "", "# plain", "# [plugins]", "\t# version = 1", "#", '# """')


@dataclass(frozen=True, slots=True)
class Spelling:
    """A text and what it means."""

    text: str
    meaning: Table

    @property
    def content(self) -> bytes:
        return self.text.encode()


class _Writer:
    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.step = draw(st.sampled_from(["", "  ", "\t"]))
        self.forms = draw(
            st.sampled_from(
                [["header"], ["inline"], ["dotted"], ["header", "inline", "dotted", "header"]]
            )
        )
        self.sections: list[tuple[tuple[str, ...], list[str], bool]] = []

    def key(self, name: str) -> str:
        bare = all(char.isalnum() or char in "-_" for char in name)
        escaped = f'"\\u{ord(name[0]):04x}{name[1:]}"'
        forms = [f'"{name}"', f"'{name}'", escaped] + [name] * 9 * bare
        return str(self.draw(st.sampled_from(forms)))

    def value(self, value: object) -> str:
        if isinstance(value, Mapping):
            gap = self.draw(st.sampled_from(["", " "]))
            return f"{{{gap}{', '.join(self.inline(value))}{gap}}}"
        if isinstance(value, list):
            return f"[{', '.join(map(self.value, value))}]"
        if isinstance(value, str):
            forms = [json.dumps(value), json.dumps(value), f"'{value}'", f'"""{value}"""']
            return str(self.draw(st.sampled_from(forms)))
        return json.dumps(value)

    def inline(self, table: Table, prefix: str = "") -> Iterator[str]:
        """Yield the pairs of an inline table, of which some may be dotted."""
        for name, value in self.shuffled(table):
            key = prefix + self.key(name)
            if isinstance(value, Mapping) and value and self.draw(st.integers(0, 3)) == 0:
                yield from self.inline(value, f"{key}.")
            else:
                yield f"{key}{self.draw(st.sampled_from(['=', ' = ']))}{self.value(value)}"

    def shuffled(self, table: Table) -> list[tuple[str, object]]:
        pairs = list(table.items())
        return list(self.draw(st.permutations(pairs))) if self.draw(st.booleans()) else pairs

    def table(self, path: tuple[str, ...], table: Table) -> None:
        lines: list[str] = []
        place = len(self.sections)
        self.keys(path, "", table, lines)
        below = any(each[: len(path)] == path for each, _, _ in self.sections[place:])
        shown = bool(lines) or not below or self.draw(st.booleans())
        self.sections.insert(place, (path, lines, shown))

    def keys(self, path: tuple[str, ...], prefix: str, table: Table, lines: list[str]) -> None:
        for name, value in self.shuffled(table):
            key = prefix + self.key(name)
            form = self.draw(st.sampled_from(self.forms)) if isinstance(value, Mapping) else "value"
            if form == "header" and prefix:
                form = "dotted"
            if isinstance(value, Mapping) and form == "header":
                self.table((*path, name), value)
            elif isinstance(value, Mapping) and value and form == "dotted":
                self.keys((*path, name), f"{key}.", value, lines)
            else:
                gap = self.draw(st.sampled_from([" = ", "=", "\t=  "]))
                tail = self.draw(st.sampled_from(["", "", " # why", "  "]))
                lines.append(f"{key}{gap}{self.value(value)}{tail}")

    def text(self, table: Table) -> str:
        self.table((), table)
        root, *others = self.sections
        if self.draw(st.integers(0, 2)) == 0:
            others = list(self.draw(st.permutations(others)))
        others += [(("[noise]",), list(self.noise()), True)] * self.draw(st.integers(0, 1))
        lines: list[str] = []
        for path, own, shown in (root, *others):
            indent = self.step * max(0, len(path) - 1)
            lines += self.draw(st.lists(st.sampled_from(COMMENTS), max_size=2))
            if path and shown:
                array = path[0].startswith("[")
                header = "[[noise]]" if array else f"[{'.'.join(map(self.key, path))}]"
                lines.append(indent + header + self.draw(st.sampled_from(["", " # ours", " "])))
            lines += [indent + self.step * bool(path) + line for line in own]
        lines += self.draw(st.lists(st.sampled_from(COMMENTS), max_size=2))
        return "\n".join(lines)

    def noise(self) -> list[str]:
        return list(self.draw(st.lists(st.sampled_from(NOISE), unique=True)))


@st.composite
def spellings(draw: st.DrawFn, meaning: Table) -> Spelling:
    """Spell a config out in one of its forms."""
    text = _Writer(draw).text(meaning) + draw(st.sampled_from(["", "\n", "\n", "\n\n"]))
    if draw(st.integers(0, 4)) == 0:
        text = text.replace("\n", "\r\n")
    if draw(st.integers(0, 6)) == 0:
        text = "\ufeff" + text
    return Spelling(text, meaning)
