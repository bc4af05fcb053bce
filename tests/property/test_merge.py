from __future__ import annotations

import re
import tomllib

from hypothesis import assume, given, note

from runtime_configs.formats.documents import apply_changes, load
from runtime_configs.formats.merge import merge3
from runtime_configs.formats.values import REMOVE
from runtime_configs.model import Format
from tests.property.generated import Case, json_cases, toml_cases

PATH = "/etc/engine/config"


def applied(case: Case, content: bytes, kind: Format) -> bytes:
    return apply_changes(content, case.changes, kind, path=PATH)


def parses(text: str) -> bool:
    try:
        tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError:
        return False
    return True


def lines(content: bytes) -> list[bytes]:
    return sorted(line for line in content.removeprefix("\ufeff".encode()).splitlines() if line)


def stripped(content: bytes) -> list[bytes]:
    """Return the lines without indentation: a key that returns takes that of its neighbour."""
    return sorted(line.strip() for line in lines(content))


def shown(content: bytes) -> list[bytes]:
    """Return the lines that are not blank, in no order."""
    return [line for line in lines(content) if line.strip()]


def check_all(case: Case, kind: Format) -> None:
    before = case.content
    ours = applied(case, before, kind)
    note(f"edit: {case.description}\nbefore:\n{case.text}\nours:\n{ours.decode()}")
    # A table that we take out can't be edited any more.
    assume(all(re.search(rb"\b%b\b" % mark.encode(), ours) for mark in case.marks))
    assert applied(case, ours, kind) == ours
    assert merge3(before, ours, ours, kind, path=PATH) == before
    now, wanted = case.edited(ours), case.edited(before)
    note(f"now:\n{now.decode()}")
    reverted = merge3(before, ours, now, kind, path=PATH)
    assert reverted is not None
    if case.moves:
        assert load(reverted, kind, path=PATH) == load(wanted, kind, path=PATH)
        if kind is Format.TOML and all(change.value is not REMOVE for change in case.changes):
            assert shown(reverted) == shown(wanted)
    elif any(change.value is REMOVE for change in case.changes):
        # A line put where ours took one out may come to stand above or below the one that returns.
        assert load(reverted, kind, path=PATH) == load(wanted, kind, path=PATH)
        # A table that returns beside somebody's new line may be spelled out again.
        tables = {change.path[-1] for change in case.changes if change.value is REMOVE}
        if kind is Format.TOML and tables.isdisjoint({"runc", "registry"}):
            assert stripped(reverted) == stripped(wanted)
    else:
        assert reverted == wanted
    repaired = applied(case, reverted, kind)
    assert merge3(reverted, repaired, repaired, kind, path=PATH) == reverted


@given(toml_cases())
def test_toml_comes_back_byte_for_byte_with_the_edits_of_others(case: Case) -> None:
    assume(parses(case.text) and parses(case.edit(case.text)))
    check_all(case, Format.TOML)


@given(json_cases())
def test_json_comes_back_byte_for_byte_with_the_edits_of_others(case: Case) -> None:
    check_all(case, Format.JSON)
