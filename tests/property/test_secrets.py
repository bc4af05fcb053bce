"""No secret of a document is in the diff that a log shows, and none in a plan's context."""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Mapping
from typing import TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from runtime_configs.formats.unified_diff import redacted_diff, unified_diff

Value: TypeAlias = "str | list[Value] | dict[str, Value]"

MARK = "hunter2"
PLAIN_KEYS = ("a", "b-c", "runtimes", "d e", "it's", "x]", "#")
SECRET_KEYS = ("auth", "Password", "X-Token", "http headers", "client_secret", "USERNAME")
AROUND = "[]{}\"'\\#,= :"


class Maker:
    """Makes documents in which each value below a key that names a secret, and no other, is one."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a document to be told again by its seed

    def document(self, inside: str = "plain", depth: int = 3) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for _ in range(self.random.randint(0, 4)):
            secret = self.random.random() < 0.3
            key = self.random.choice(SECRET_KEYS if secret else PLAIN_KEYS)
            found[key] = self.value(MARK if secret else inside, depth - 1)
        return found

    def value(self, inside: str, depth: int) -> Value:
        kind = self.random.random()
        if depth and kind < 0.3:
            return self.document(inside, depth)
        if depth and kind < 0.5:
            return [self.value(inside, depth - 1) for _ in range(self.random.randint(0, 3))]
        around = ("".join(self.random.choices(AROUND, k=self.random.randint(0, 4))) for _ in "xx")
        return inside.join(around)

    def toml(self) -> str:
        """Return a document, each value in one of its spellings."""
        lines: list[str] = []
        self.table(self.document(), (), lines)
        text = "\n".join(lines) + "\n"
        tomllib.loads(text)
        return text

    def table(self, value: Mapping[str, Value], path: tuple[str, ...], lines: list[str]) -> None:
        if path:
            lines.append(f"[{' . '.join(map(json.dumps, path))}]")
        below = []
        for key, each in value.items():
            if isinstance(each, dict) and self.random.random() < 0.5:
                below.append((key, each))
            else:
                indent = self.random.choice(["", "  "])
                lines.append(f"{indent}{json.dumps(key)} = {self.spelled(each)}")
        for key, inner in below:
            self.table(inner, (*path, key), lines)

    def spelled(self, value: Value) -> str:
        if isinstance(value, dict):
            pairs = (f"{json.dumps(key)} = {self.spelled(each)}" for key, each in value.items())
            return f"{{ {', '.join(pairs)} }}"
        if isinstance(value, list):
            gap = self.random.choice([" ", "\n    ", " # why [\n"])
            return "[" + "".join(f"{gap}{self.spelled(each)}," for each in value) + "\n]"
        basic = json.dumps(value)
        forms = [basic, f'"""\n# x\n{basic[1:-1]}\n[a]"""']
        if "'" not in value:
            forms += [f"'{value}'", f"'''\n[a]\n{value}\nb = 1'''"]
        return self.random.choice(forms)


MAKERS = st.integers(0, 2**64).map(Maker)


@given(MAKERS)
def test_of_toml_no_secret_shows(maker: Maker) -> None:
    assert MARK not in redacted_diff("/x", maker.toml().encode(), maker.toml().encode())


@given(MAKERS, st.sampled_from([None, 0, 2, "\t"]), st.sampled_from([None, (",", " : ")]))
def test_of_json_no_secret_shows(
    maker: Maker, indent: int | str | None, separators: tuple[str, str] | None
) -> None:
    text = json.dumps(maker.document(), indent=indent, separators=separators)
    assert MARK not in redacted_diff("/x", text.encode(), b"{}\n")


@given(MAKERS)
def test_no_context_has_a_secret(maker: Maker) -> None:
    before = maker.toml()
    lines = before.split("\n")
    lines.insert(maker.random.randrange(len(lines)), "ours")
    diff = unified_diff("/x", before.encode(), "\n".join(lines).encode())
    assert MARK not in diff
    assert "+ours\n" in diff
