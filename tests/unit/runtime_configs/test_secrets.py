"""A name that speaks of a secret does so to logs, diffs and comparisons alike."""

from __future__ import annotations

import pytest

from runtime_configs.formats.comparison import CHANGED, differing
from runtime_configs.formats.secrets import WORDS
from runtime_configs.formats.unified_diff import redacted_diff
from runtime_configs.model import EffectiveConfig
from tests.unit.containerd.hosts import ADAPTER, request
from toolkit.logs import Level, text_line

ADDRESS = "http://node:hunter2@proxy.example:3128"


def effective(value: object) -> EffectiveConfig:
    return EffectiveConfig(handlers={}, default=None, raw={"version": 2, "plugins": {"x": value}})


@pytest.mark.parametrize("name", [*WORDS, "X-Registry-Auth", "identitytoken", "PASSWORDS"])
def test_a_secret_of_this_name_is_shown_nowhere(name: str) -> None:
    before: dict[str, object] = {"a": {name: {"b": ["hunter2"]}}}
    after: dict[str, object] = {"a": {name: {"b": ["hunter3"]}}}
    shown = [
        text_line(0.0, Level.INFO, "a.b", "message", before),
        redacted_diff("/x", f'"{name}" = "hunter2"\n'.encode(), b"a = 1\n"),
        *differing(before, after, (), CHANGED),
        *ADAPTER.unintended(effective(before), effective(after), request()),
    ]
    assert len(shown) == 4
    assert "hunter" not in "".join(shown)


def test_a_password_in_an_address_is_not_shown() -> None:
    before: dict[str, object] = {"http-proxy": ADDRESS, "mirrors": [ADDRESS]}
    shown = [
        redacted_diff("/x", f'a = "{ADDRESS}"\n'.encode(), b"a = 1\n"),
        *differing(before, {}, (), CHANGED),
        *ADAPTER.unintended(effective(before), effective({}), request()),
    ]
    assert len(shown) == 5
    assert "hunter" not in "".join(shown)
    assert all("proxy.example" in line for line in shown)
