"""Fuzz what reads an engine's files: ``python -m tests.property.reader_fuzz COUNT [SEED]``.

The inputs are mutations of the golden trees' configs, templates and dumps, of the spellings of a
secret and of NRI conversations. Each reader answers or raises its own error, a redaction keeps the
number of lines, and an edit of what was read says what it should. Prints the inputs of each reader.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from runtime_configs.containerd import dump
from runtime_configs.formats.documents import Change, apply_changes, load
from runtime_configs.formats.merge import merge3
from runtime_configs.formats.redaction import redacted
from runtime_configs.formats.template_mask import masked, unmasked
from runtime_configs.formats.unified_diff import redacted_diff, unified_diff
from runtime_configs.model import ConfigError, Format
from tests.property.nri_fuzz import mutate
from tests.property.nri_fuzz import seeds as conversations
from tests.property.nri_target import run_session
from tests.unit.runtime_configs.test_secret_spellings import SPELLINGS

GOLDEN = Path(__file__).parents[1] / "golden"
LARGEST = 20_000
"""Bytes of a seed: what is larger only makes fewer inputs a second."""
INPUTS = ("toml", "json", "tmpl")


def seeds() -> dict[str, list[bytes]]:
    """Return valid inputs by kind."""
    found: dict[str, list[bytes]] = {kind: [] for kind in INPUTS}
    for path in sorted(GOLDEN.rglob("*")):
        kind = {"toml": "toml", "json": "json", "tmpl": "tmpl", "conf": "toml"}.get(
            path.name.rpartition(".")[2]
        )
        if kind is not None and path.is_file() and path.stat().st_size < LARGEST:
            found[kind].append(path.read_bytes())
    for text in SPELLINGS.values():
        found["json" if text.startswith("{") else "toml"].append(text.encode())
    return {kind: sorted(set(each)) for kind, each in found.items()}


def changed(source: random.Random, data: bytes) -> bytes:
    """Return an input with a few bytes, or a few lines, in other places."""
    if source.random() < 0.5:
        return mutate(source, data)
    lines = data.splitlines(keepends=True)
    for _ in range(source.randint(1, 3)):
        if lines:
            line = lines.pop(source.randrange(len(lines)))
            times = source.choice((0, 1, 1, 1, 2))
            position = source.randrange(len(lines) + 1)
            lines[position:position] = [line] * times
    return b"".join(lines)


def documents(content: bytes, form: Format) -> None:
    """Read a document, edit it, and take the edit back."""
    document = load(content, form, path="/x")
    change = Change(path=("ours", "a"), value=1)
    edited = apply_changes(content, (change,), form, path="/x")
    assert str(load(edited, form, path="/x")) == str({**document, "ours": {"a": 1}})
    merge3(content, edited, edited, form, path="/x")


def toml(content: bytes) -> None:
    """Read it as the engines' TOML."""
    documents(content, Format.TOML)


def json(content: bytes) -> None:
    """Read it as dockerd's JSON."""
    documents(content, Format.JSON)


def template(content: bytes) -> None:
    """Mask the directives of a template and put them back."""
    assert unmasked(masked(content)) == content


def dumps(content: bytes) -> None:
    """Read it as what containerd reports of itself."""
    dump.decode(content)


def logs(content: bytes) -> None:
    """Show it in a log and in a plan."""
    text = content.decode(errors="surrogateescape")
    assert redacted(text).count("\n") == text.count("\n")
    redacted_diff("/x", content, b"a = 1\n", known=content)
    unified_diff("/x", None, content, known=content)


Reader = Callable[[bytes], object]
READERS: dict[str, tuple[str, Reader]] = {
    "toml": ("toml", toml),
    "json": ("json", json),
    "template": ("tmpl", template),
    "dump": ("toml", dumps),
    "status": ("json", dumps),
    "log": ("toml", logs),
    "log of json": ("json", logs),
    "log of a template": ("tmpl", logs),
}


def run(count: int, seed: int) -> Counter[str]:
    """Give the readers so many inputs; an error that is not theirs is raised with its input."""
    source = random.Random(seed)  # noqa: S311 - inputs, no secrets
    corpus = seeds()
    talks = conversations()
    done: Counter[str] = Counter()
    names = [*READERS, "nri"]
    for number in range(count):
        name = names[number % len(names)]
        reader: Reader
        if name == "nri":
            content = mutate(source, source.choice(talks))
            reader = run_session
        else:
            kind, reader = READERS[name]
            content = changed(source, source.choice(corpus[kind]))
        try:
            reader(content)
        except ConfigError:
            done[f"{name}, refused"] += 1
        except Exception as error:
            raise AssertionError(f"{name}, seed {seed}, input {number}: {content!r}") from error
        done[name] += 1
    return done


if __name__ == "__main__":
    chosen = int(sys.argv[2]) if len(sys.argv) > 2 else int.from_bytes(os.urandom(4))
    for reader_name, times in sorted(run(int(sys.argv[1]), chosen).items()):
        sys.stdout.write(f"{times:9} {reader_name}\n")
