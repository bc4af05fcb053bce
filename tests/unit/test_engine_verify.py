from __future__ import annotations

import pytest

from runtime_configs.model import EffectiveConfig, ServedHandler
from toolkit.engine.facts import Expectation, HandlerRun, LackKind, Served
from toolkit.engine.verify import executed, handlers_to_run, part_met, run_faults, shortcomings

BINARY = "/usr/local/nvidia/toolkit/nvidia-container-runtime"


def config(
    default: str = "nvidia", listed: frozenset[str] | None = None, **binaries: str | None
) -> Served:
    handlers = {
        name: ServedHandler(name=name, binary_path=path, runtime_type=None, table={})
        for name, path in binaries.items()
    }
    effective = EffectiveConfig(handlers=handlers, default=default, raw={})
    return Served(config=effective, listed=listed)


WANTED = Expectation(served=(("nvidia", BINARY),), default="nvidia")
GONE = Expectation(absent=(("nvidia", BINARY),), default="runc")
LEFT = Expectation(absent=(("nvidia", BINARY),), absent_default="nvidia")


def test_nothing_is_missing_where_all_is_served() -> None:
    assert shortcomings(WANTED, config(nvidia=BINARY)) == ()
    assert shortcomings(WANTED, config(nvidia=BINARY, listed=frozenset({"nvidia"}))) == ()
    assert shortcomings(GONE, config("runc", runc=None)) == ()
    assert shortcomings(LEFT, config("crun", runc=None)) == ()


@pytest.mark.parametrize(
    ("expected", "served", "said"),
    [
        (WANTED, config(runc=None), "handler nvidia is not served"),
        (WANTED, config(nvidia="/opt/other"), f"handler nvidia has /opt/other, not {BINARY}"),
        (WANTED, config(nvidia=None), "has no binary of its own"),
        (WANTED, config(nvidia=BINARY, listed=frozenset({"runc"})), "not listed as served"),
        (WANTED, config("runc", nvidia=BINARY), "the default handler is runc, not nvidia"),
        (GONE, config("runc", nvidia=BINARY), f"still served with {BINARY}"),
        (LEFT, config("nvidia", nvidia=None), "the default handler is still nvidia"),
    ],
)
def test_each_shortcoming_is_named(expected: Expectation, served: Served, said: str) -> None:
    (line,) = shortcomings(expected, served)
    assert said in line


def test_a_handler_of_that_name_with_another_binary_is_not_ours_and_may_stay() -> None:
    assert shortcomings(GONE, config("runc", nvidia="/usr/bin/nvidia-container-runtime")) == ()


@pytest.mark.parametrize("kind", LackKind)
def test_an_engine_that_serves_nothing_is_named_with_its_reason(kind: LackKind) -> None:
    assert shortcomings(WANTED, Served.nothing("its plugin is gone", kind)) == (
        "its plugin is gone",
    )


@pytest.mark.parametrize(
    ("kind", "clean"),
    [(LackKind.PENDING, False), (LackKind.FAILED, False), (LackKind.DISABLED, True)],
)
def test_an_engine_whose_config_disables_pods_serves_nothing_of_ours_either(
    kind: LackKind, *, clean: bool
) -> None:
    gone = Expectation(absent=(("nvidia", BINARY),), absent_default="nvidia")
    assert (shortcomings(gone, Served.nothing("no CRI", kind)) == ()) is clean


def test_each_handler_and_the_default_are_tried() -> None:
    assert handlers_to_run(WANTED) == ("nvidia", "")
    assert handlers_to_run(Expectation(served=(("nvidia", BINARY),))) == ("nvidia",)
    assert handlers_to_run(Expectation()) == ()


@pytest.mark.parametrize(
    ("run", "faults"),
    [
        (HandlerRun(handler="nvidia", binary=BINARY), ()),
        (HandlerRun(handler="nvidia", binary=f"/usr/local//nvidia{BINARY[17:]}"), ()),
        (HandlerRun(handler="nvidia", untried="no image"), ()),
        (HandlerRun(handler="nvidia"), ()),
        (HandlerRun(handler="", binary=BINARY), ()),
        (
            HandlerRun(handler="", binary="runc"),
            (f"the default handler started runc, not {BINARY}",),
        ),
        (
            HandlerRun(handler="nvidia", failure="it broke"),
            ("handler nvidia started nothing: it broke",),
        ),
    ],
)
def test_a_run_is_compared_with_what_the_handler_should_execute(
    run: HandlerRun, faults: tuple[str, ...]
) -> None:
    assert run_faults(WANTED, [run]) == faults


def test_only_what_is_served_is_executed_or_tried() -> None:
    assert part_met(WANTED, None) == Expectation()
    assert part_met(WANTED, config("runc", nvidia="/opt/other").config) == Expectation()
    assert part_met(WANTED, config(nvidia=BINARY).config) == WANTED


@pytest.mark.parametrize(
    ("kind", "binary"),
    [
        ("io.containerd.runc.v2", "runc"),
        ("oci", "other"),
        (None, "other"),
        ("io.containerd.kata.v2", None),
    ],
)
def test_a_default_handler_without_a_binary_has_that_of_its_type(
    kind: str | None, binary: str | None
) -> None:
    handler = ServedHandler(name="other", binary_path=None, runtime_type=kind, table={})
    effective = EffectiveConfig(handlers={"other": handler}, default="other", raw={})
    expected = () if binary is None else (("the default handler other", binary),)
    assert executed(Expectation(default="other"), effective) == expected
