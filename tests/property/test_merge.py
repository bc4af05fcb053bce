from __future__ import annotations

import tomllib

from hypothesis import assume, given, note

from runtime_configs.documents import REMOVE, apply_changes, load
from runtime_configs.merge import merge3
from runtime_configs.model import ConfigError, Format
from tests.property.generated import Case, json_cases, toml_cases

PATH = "/etc/engine/config"


def applied(case: Case, content: bytes, format: Format) -> bytes:
    return apply_changes(content, case.changes, format, path=PATH)


def check_all(case: Case, format: Format) -> None:
    before = case.content
    ours = applied(case, before, format)
    note(f"edit: {case.description}\nbefore:\n{case.text}\nours:\n{ours.decode()}")
    assert applied(case, ours, format) == ours
    assert merge3(before, ours, ours, format, path=PATH) == before
    now, wanted = case.edited(ours), case.edited(before)
    note(f"now:\n{now.decode()}")
    reverted = merge3(before, ours, now, format, path=PATH)
    assert reverted is not None
    if any(change.value is REMOVE for change in case.changes):
        # A line put where ours took one out may come to stand above or below the one that returns.
        assert load(reverted, format, path=PATH) == load(wanted, format, path=PATH)
        assert sorted(reverted.splitlines()) == sorted(wanted.splitlines())
    else:
        assert reverted == wanted
    repaired = applied(case, reverted, format)
    assert merge3(reverted, repaired, repaired, format, path=PATH) == reverted


@given(toml_cases())
def test_toml_comes_back_byte_for_byte_with_the_edits_of_others(case: Case) -> None:
    try:
        tomllib.loads(case.text.removeprefix("\ufeff"))
        tomllib.loads(case.edit(case.text).removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError:
        assume(False)
    check_all(case, Format.TOML)


@given(json_cases())
def test_json_comes_back_byte_for_byte_with_the_edits_of_others(case: Case) -> None:
    check_all(case, Format.JSON)
