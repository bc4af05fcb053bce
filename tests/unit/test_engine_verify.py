from __future__ import annotations

import pytest

from runtime_configs.model import EffectiveConfig, ServedHandler
from toolkit.engine.facts import Expectation
from toolkit.engine.verify import shortcomings

BINARY = "/usr/local/nvidia/toolkit/nvidia-container-runtime"


def config(default: str = "nvidia", **binaries: str | None) -> EffectiveConfig:
    handlers = {
        name: ServedHandler(name=name, binary_path=path, runtime_type=None, table={})
        for name, path in binaries.items()
    }
    return EffectiveConfig(handlers=handlers, default=default, raw={})


WANTED = Expectation(served=(("nvidia", BINARY),), default="nvidia")
GONE = Expectation(absent=(("nvidia", BINARY),), default="runc")
LEFT = Expectation(absent=(("nvidia", BINARY),), absent_default="nvidia")


def test_nothing_is_missing_where_all_is_served() -> None:
    assert shortcomings(WANTED, config(nvidia=BINARY)) == ()
    assert shortcomings(WANTED, config(nvidia=BINARY), frozenset({"nvidia"})) == ()
    assert shortcomings(GONE, config("runc", runc=None)) == ()
    assert shortcomings(LEFT, config("crun", runc=None)) == ()


@pytest.mark.parametrize(
    ("expected", "served", "listed", "said"),
    [
        (WANTED, config(runc=None), None, "handler nvidia is not served"),
        (WANTED, config(nvidia="/opt/other"), None, f"handler nvidia has /opt/other, not {BINARY}"),
        (WANTED, config(nvidia=None), None, "has no binary of its own"),
        (WANTED, config(nvidia=BINARY), frozenset({"runc"}), "not listed as served"),
        (WANTED, config("runc", nvidia=BINARY), None, "the default handler is runc, not nvidia"),
        (GONE, config("runc", nvidia=BINARY), None, f"still served with {BINARY}"),
        (LEFT, config("nvidia", nvidia=None), None, "the default handler is still nvidia"),
    ],
)
def test_each_shortcoming_is_named(
    expected: Expectation, served: EffectiveConfig, listed: frozenset[str] | None, said: str
) -> None:
    (line,) = shortcomings(expected, served, listed)
    assert said in line


def test_a_handler_of_that_name_with_another_binary_is_not_ours_and_may_stay() -> None:
    assert shortcomings(GONE, config("runc", nvidia="/usr/bin/nvidia-container-runtime")) == ()
