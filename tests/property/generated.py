"""Generated TOML and JSON documents in many styles, changes to them, and edits by somebody else.

Each line of a document that an edit may refer to holds a mark that nothing else in it has, so the
same edit can be made in the document and in what our changes made of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st

from runtime_configs.formats.documents import Change
from runtime_configs.formats.json_spans import members_of
from runtime_configs.formats.values import REMOVE

CRI = "io.containerd.grpc.v1.cri"
PREFIX = ("plugins", CRI, "containerd")
Edit = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Case:
    """A document, our changes to it, and an edit that does not touch what we change."""

    text: str
    changes: tuple[Change, ...]
    edit: Edit
    description: str
    moves: bool = False
    """Whole tables are moved or deleted: blank lines around them may come out another way."""
    marks: tuple[str, ...] = ()
    """What the edit looks for: our changes may have taken it out."""

    @property
    def content(self) -> bytes:
        return self.text.encode()

    def edited(self, content: bytes) -> bytes:
        return self.edit(content.decode()).encode()


VALUES = st.one_of(
    st.integers(-(2**62), 2**62).map(str),
    st.sampled_from(["true", "false", "0x1F", "1_000", "3.50", "1e3", "inf", "07:32:00"]),
    st.sampled_from(
        ["1979-05-27T07:32:00Z", "2020-01-01", "{}", "[]", "[ ]", "{ a = 1, b.c = 'x' }"]
    ),
    st.sampled_from(
        ['"a # no comment"', "'lit [x]'", '"esc \\" \\u00e9 \\\\"', '"ü→"', '""', "''"]
    ),
    st.sampled_from(
        ['"""\n[not.a.table]\nk = 1 # text\n"""', "'''\n# no comment\n'''", '"""a""b"""']
    ),
    st.sampled_from(
        ["[1, 2, # two\n   3,\n]", '["a",\n "b"]', '[[1], ["]"]]', "[{ a = 1 }, { b = [2] }]"]
    ),
)
COMMENTS = st.sampled_from(["# plain", "# [commented.table]", "#k = 1", "    # indented", "# ünï"])


IMPORTS = (
    "",
    "imports = []",
    'imports = ["/a.toml"] # x',
    'imports = [\n  "/a.toml", # first\n  "/b.toml"\n]',
    'imports = [\n  "/a.toml",\n]',
)
DEFAULTS = ("", 'default_runtime_name = "runc"', "default_runtime_name = 'crun' # adm")


class _TomlLines:
    """A document that grows, and the marks by which an edit finds its lines."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.lines: list[str] = []
        self.keys: list[str] = []
        self.headers: list[str] = []
        self.marks = iter(range(10_000))
        self.step = draw(st.sampled_from(["", "  "]))
        self.spaced = draw(st.booleans())

    def key(self, indent: str) -> None:
        mark = f"m{next(self.marks)}"
        name = self.draw(
            st.sampled_from([mark, f'"{mark}.q"', f"{mark}.dotted.key", f"'{mark} l'"])
        )
        gap = self.draw(st.sampled_from([" = ", "=", "  =  "]))
        tail = self.draw(st.sampled_from(["", "", " # why", "   "]))
        self.lines.append(f"{indent}{name}{gap}{self.draw(VALUES)}{tail}")
        if "\n" not in self.lines[-1]:
            self.keys.append(mark)

    def filler(self) -> None:
        for _ in range(self.draw(st.integers(0, 2))):
            self.lines.append(self.draw(st.one_of(st.just(""), COMMENTS)))

    def section(self, name: str, own: list[str]) -> None:
        indent = self.step * (name.count(".") - 3 * (CRI in name))
        if self.spaced and self.lines:
            self.lines.append("")
        mark = f"h{next(self.marks)}"
        marked = self.draw(st.booleans())
        self.lines.append(f"{indent}[{name}] # {mark}" if marked else f"{indent}[{name}]")
        self.headers += [mark] * marked
        self.lines += [indent + self.step + text for text in own if text]
        for _ in range(self.draw(st.integers(0, 3))):
            self.key(indent + self.step)
        self.filler()


@st.composite
def toml_sections(draw: st.DrawFn) -> list[tuple[str, list[str]]]:
    """Tables that we may touch, in any order, and others around them."""
    quote = draw(st.sampled_from(['"', "'"]))
    cri = f"plugins.{quote}{CRI}{quote}"
    known: list[tuple[str, list[str]]] = [
        ("plugins", []),
        (cri, ["sandbox_image = 'p' # img"]),
        (f"{cri}.containerd", [draw(st.sampled_from(DEFAULTS))]),
        (f"{cri}.containerd.runtimes", []),
        (f"{cri}.containerd.runtimes.runc", ['runtime_type = "io.containerd.runc.v2"']),
        (f"{cri}.containerd.runtimes.runc.options", ["SystemdCgroup = true"]),
        (f"{cri}.registry", []),
    ]
    chosen = [pair for pair in known if draw(st.booleans())]
    if draw(st.integers(0, 4)) == 0:
        chosen = list(draw(st.permutations(chosen)))
    others: list[tuple[str, list[str]]] = [
        (f"other{number}", []) for number in range(draw(st.integers(0, 3)))
    ]
    nested: bool = draw(st.booleans())
    if others and nested:
        others.append((f"{others[0][0]}.sub", []))
    order: list[int] = draw(st.permutations([0, 1]))
    sections = [pair for index in order for pair in (others, chosen)[index]]
    if draw(st.integers(0, 5)) == 0:
        sections += [("[arr]", []), ("arr.sub", []), ("[arr]", [])]
    return sections


@st.composite
def toml_cases(draw: st.DrawFn) -> Case:
    written = _TomlLines(draw)
    written.filler()
    heads = [draw(st.sampled_from(["", "version = 2"])), draw(st.sampled_from(IMPORTS))]
    written.lines += [line for line in heads if line]
    for _ in range(draw(st.integers(0, 3))):
        written.key("")
    for name, own in draw(toml_sections()):
        written.section(name, own)
    text = "\n".join(written.lines) + draw(st.sampled_from(["", "\n", "\n", "\n\n"]))
    edit, description, marks = draw(
        line_edits(written.keys, written.headers, final=text.endswith("\n") or not text)
    )
    if draw(st.integers(0, 3)) == 0:
        text, edit = text.replace("\n", "\r\n"), _with_crlf(edit)
    if draw(st.integers(0, 9)) == 0:
        text, edit = "\ufeff" + text, _behind_bom(edit)
    return Case(text, draw(toml_changes()), edit, description, "whole table" in description, marks)


@st.composite
def toml_changes(draw: st.DrawFn) -> tuple[Change, ...]:
    options = {
        "BinaryName": "/usr/local/nvidia/toolkit/nvidia-container-runtime",
        "SystemdCgroup": True,
    }
    table = {
        "runtime_type": "io.containerd.runc.v2",
        "container_annotations": ["a*"],
        "options": options,
    }
    names = draw(st.sampled_from([("nvidia",), ("nvidia", "nvidia-cdi", "nvidia-legacy")]))
    runtimes = [Change(path=(*PREFIX, "runtimes", name), value=table) for name in names]
    more = [
        Change(path=(*PREFIX, "default_runtime_name"), value="nvidia"),
        Change(path=("imports",), value=["/a.toml", "/etc/containerd/conf.d/*.toml"]),
        Change(path=("plugins", CRI, "enable_cdi"), value=True),
        Change(path=(*PREFIX, "runtimes", "runc", "options", "SystemdCgroup"), value=REMOVE),
        Change(path=("version",), value=3),
        Change(path=("version",), value=REMOVE),
        Change(path=(*PREFIX, "runtimes", "runc"), value=REMOVE),
        Change(path=("plugins", CRI, "registry"), value=REMOVE),
    ]
    return (*[change for change in more if draw(st.integers(0, 2)) == 0], *runtimes)


@st.composite
def line_edits(
    draw: st.DrawFn, keys: list[str], headers: list[str], *, final: bool
) -> tuple[Edit, str, tuple[str, ...]]:
    """Edits of lines that are the document's own."""
    choices = ["prepend comment", "append table"] + ["append key-less comment"] * final
    choices += ["insert above key", "insert below key", "delete key", "change key"] * bool(keys)
    choices += ["table above header", "comment above header", "comment below header"] * bool(
        headers
    )
    whole = ["delete whole table of header", "move whole table of header"]
    choices += whole * (final and bool(headers))
    chosen = draw(st.lists(st.sampled_from(choices), min_size=1, max_size=3))
    edits: list[Edit] = []
    marks: list[str] = []
    for number, choice in enumerate(chosen):
        mark = draw(st.sampled_from(headers if "header" in choice else keys or [""]))
        edits.append(_line_edit(choice, mark, number))
        marks += [mark] if "key" in choice.split() or "header" in choice else []

    def edit(text: str) -> str:
        for each in edits:
            text = each(text)
        return text

    return edit, ", ".join(chosen), tuple(marks)


def _line_edit(choice: str, mark: str, number: int) -> Edit:
    whole: dict[str, Edit] = {
        "prepend comment": lambda text: f"# top {number}\n{text}",
        "append table": lambda text: (
            f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}"
            f"\n[admin{number}]\nz = {number}\n"
        ),
        "append key-less comment": lambda text: f"{text}# foot {number}\n",
    }
    if choice in whole:
        return whole[choice]
    if "whole table" in choice:
        return _table_edit(mark, keep=choice.startswith("move"))
    above = {
        "insert above key": [f"new{number} = [ {number} ] # above"],
        "table above header": [f"[admin{number}]", f"  z = {number}", ""],
        "comment above header": [f"# above {number}"],
    }
    below = {
        "insert below key": [f"  new{number} = {number}"],
        "comment below header": [f"# below {number}"],
    }

    def edit(text: str) -> str:
        lines = text.split("\n")
        where = next((i for i, line in enumerate(lines) if _marked(line, mark)), None)
        if where is None:
            return text
        if choice == "delete key":
            del lines[where]
        elif choice == "change key":
            lines[where] = lines[where].split("=")[0] + f"= {number} # mine"
        else:
            lines[where + 1 : where + 1] = below.get(choice, [])
            lines[where:where] = above.get(choice, [])
        return "\n".join(lines)

    return edit


_HEADER = re.compile(r"""[ \t]*\[{1,2}(?!not\.a\.table)[A-Za-z][\w.'"-]*\]{1,2}( \# h\d+)?[ \t]*""")


def _table_edit(mark: str, *, keep: bool) -> Edit:
    """Cut a table with its keys; to be kept, it goes to the end of the document."""

    def edit(text: str) -> str:
        lines = text.split("\n")
        start = next((i for i, line in enumerate(lines) if _marked(line, mark)), None)
        if start is None or not text.endswith("\n"):
            return text
        later = range(start + 1, len(lines))
        end = next((i for i in later if _HEADER.fullmatch(lines[i])), len(lines))
        while not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#"):
            end -= 1
            if end == start + 1:
                break
        cut = lines[start:end]
        del lines[start:end]
        return "\n".join([*lines[:-1], *(cut if keep else []), ""])

    return edit


def _marked(line: str, mark: str) -> bool:
    stripped = line.strip().lstrip("\"'")
    if mark.startswith("h"):
        return line.endswith(f"# {mark}")
    return stripped.startswith(mark) and not stripped[len(mark) : len(mark) + 1].isdigit()


def _with_crlf(edit: Edit) -> Edit:
    return lambda text: edit(text.replace("\r\n", "\n")).replace("\n", "\r\n")


def _behind_bom(edit: Edit) -> Edit:
    return lambda text: "\ufeff" + edit(text.removeprefix("\ufeff"))


@dataclass(frozen=True, slots=True)
class _Raw:
    spelling: str


def _raw(spelling: str) -> _Raw:
    return _Raw(spelling)


SCALARS = st.one_of(
    st.integers(-(2**80), 2**80), st.booleans(), st.none(), st.text(max_size=8),
    st.sampled_from(["1.50", "1E+5", "-0"]).map(_raw),
)  # fmt: skip


@st.composite
def json_cases(draw: st.DrawFn) -> Case:
    data: dict[str, object] = {}
    for number in range(draw(st.integers(0, 5))):
        data[f"k{number}"] = draw(st.one_of(
            SCALARS, st.lists(SCALARS, max_size=3),
            st.dictionaries(st.text(max_size=4), SCALARS, max_size=3),
        ))  # fmt: skip
    ours: dict[str, object] = {
        "runtimes": {"crun": {"path": "/usr/bin/crun"}}, "default-runtime": "crun",
        "features": {"buildkit": True},
    }  # fmt: skip
    data |= {key: value for key, value in ours.items() if draw(st.booleans())}
    data = {key: data[key] for key in draw(st.permutations(list(data)))}
    indent = draw(st.sampled_from([None, "  ", "    ", "\t"]))
    text = _json_text(data, indent, "", draw(st.sampled_from([": ", ":", " : "])))
    text += draw(st.sampled_from(["", "\n", "\n\n"]))
    newline = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    edit, description = draw(
        json_edits(sorted(key for key in data if key.startswith("k")), filled=bool(data))
    )
    values = {"path": "/usr/local/nvidia/toolkit/nvidia-container-runtime", "args": []}
    changes = [
        Change(path=("runtimes", name), value=values) for name in ("nvidia", "nvidia-cdi")
    ] + [
        change for change in (
            Change(path=("default-runtime",), value="nvidia"),
            Change(path=("features", "cdi"), value=True),
            Change(path=("features", "buildkit"), value=REMOVE),
            Change(path=("runtimes", "crun"), value=REMOVE),
        ) if draw(st.booleans())
    ]  # fmt: skip
    moves = "whole member" in description
    return Case(text.replace("\n", newline), tuple(changes), edit, description, moves)


@st.composite
def json_edits(draw: st.DrawFn, names: list[str], *, filled: bool) -> tuple[Edit, str]:
    """Edits of members that are the document's own, and members added at the front."""
    choices = ["nothing", "delete whole member", "move whole member"]
    choices += ["front"] * filled + ["value"] * bool(names)
    choice = draw(st.sampled_from(choices))
    name = draw(st.sampled_from(names or [""]))
    if "whole member" in choice:
        known = [*names, "runtimes", "features", "default-runtime"]
        return _member_edit(draw(st.sampled_from(known)), keep=choice.startswith("move")), choice
    if choice == "front":
        return _front, choice
    if choice == "value":
        return (lambda text: text.replace(f'"{name}"', f'"{name}-renamed"', 1)), choice
    return (lambda text: text), choice


def _member_edit(name: str, *, keep: bool) -> Edit:
    """Cut a member of the document; to be kept, it becomes the first one."""

    def edit(text: str) -> str:
        members = members_of(text, text.index("{"))
        index = next((i for i, member in enumerate(members) if member.name == name), None)
        if index is None or (keep and index == 0):
            return text
        start, end = members[index].start, members[index].end
        cut = text[start:end]
        if index + 1 < len(members):
            text = text[:start] + text[members[index + 1].start :]
        elif index > 0:
            text = text[: members[index - 1].end] + text[end:]
        else:
            return text[:start] + text[end:]
        first = members[0].start
        return f"{text[:first]}{cut}, {text[first:]}" if keep else text

    return edit


def _front(text: str) -> str:
    opening, rest = text.split("{", 1)
    return f'{opening}{{"front": [1,\n  2]{"" if rest.lstrip().startswith("}") else ","}{rest}'


def _json_text(value: object, indent: str | None, outer: str, colon: str) -> str:
    if isinstance(value, _Raw):
        return value.spelling
    if not isinstance(value, (dict, list)) or not value:
        return json.dumps(value)
    inner = outer + (indent or "")
    gap = ", " if indent is None else f",\n{inner}"
    if isinstance(value, dict):
        parts = [
            json.dumps(k) + colon + _json_text(v, indent, inner, colon) for k, v in value.items()
        ]
    else:
        parts = [_json_text(v, indent, inner, colon) for v in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    first, last = ("", "") if indent is None else (f"\n{inner}", f"\n{outer}")
    return opening + first + gap.join(parts) + last + closing
