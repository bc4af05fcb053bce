"""Whatever case containerd's own keys are in: read, written, served and undone as one key each."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping

from hypothesis import given, note
from hypothesis import strategies as st

from runtime_configs.containerd import keys
from runtime_configs.containerd.merged import read_merged
from runtime_configs.containerd.schema import Era, era_of, plugin
from runtime_configs.containerd.shim import binary_of
from runtime_configs.formats.key_case import Keys, read, repeated
from tests.fakes.memory_files import MemoryFiles
from tests.property.test_containerd_spellings import canonical
from tests.unit.containerd.hosts import ADAPTER, DROP_IN, HANDLERS, TOP, apply, request

Table = Mapping[str, object]
RUNC = "io.containerd.runc.v2"


@st.composite
def configs(draw: st.DrawFn) -> tuple[str, Table]:
    """Return an engine's version and what its file says, each key under its own name."""
    engine = draw(st.sampled_from(["1.6.20", "1.7.24", "2.1.9", "2.3.4"]))
    number = draw(st.integers(2, 3 if engine.startswith("2") else 2))
    option = st.fixed_dictionaries(
        {},
        optional={
            "BinaryName": st.sampled_from(["/site/runc", "/usr/bin/nvidia-container-runtime"]),
            "SystemdCgroup": st.booleans(),
            "NoPivotRoot": st.booleans(),
        },
    )
    handler = st.fixed_dictionaries(
        {"runtime_type": st.just(RUNC)},
        optional={"options": option, "container_annotations": st.just(["a/*"])},
    )
    names = st.sampled_from(["runc", "crun", "nvidia", "nvidia-cdi", "Nvidia"])
    runtimes = draw(st.dictionaries(names, handler, min_size=1))
    containerd: dict[str, object] = {"runtimes": runtimes}
    if draw(st.booleans()):
        containerd["default_runtime_name"] = draw(st.sampled_from(sorted(runtimes)))
    cri = {"containerd": containerd, "sandbox_image": "pause:1"}
    return engine, {"version": number, "imports": [], "plugins": {plugin(number): cri}}


def in_some_case(draw: st.DrawFn, table: Table, level: Keys, *, old: bool) -> Table:
    """Return a table with its own keys in some case that the engine takes."""
    result: dict[str, object] = {}
    for name, value in table.items():
        key = name
        if name in level.own:
            forms = [name, name.lower(), name.upper(), name[:1].lower() + name[1:]]
            if not old:
                flips = draw(st.lists(st.booleans(), min_size=len(name), max_size=len(name)))
                pairs = zip(name, flips, strict=True)
                forms.append("".join(c.swapcase() if flip else c for c, flip in pairs))
            key = draw(st.sampled_from(forms))
        inner = isinstance(value, Mapping)
        result[key] = (
            in_some_case(draw, value, level.inside(name), old=old) if inner else value  # type: ignore[arg-type]
        )
    return result


@st.composite
def in_any_case(draw: st.DrawFn, table: Table, *, old: bool) -> Table:
    """Return a whole file so."""
    return in_some_case(draw, table, keys.ROOT, old=old)


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, Table, Table]:
    engine, meaning = draw(configs())
    return engine, meaning, in_some_case(draw, meaning, keys.ROOT, old=engine.startswith("1"))


def doubled(table: Table, level: Keys) -> Iterator[tuple[str, ...]]:
    """Yield keys that stand in one table in two spellings."""
    if found := repeated(table, level):
        yield found
    for key, value in table.items():
        name = next((each for each in level.own if each.lower() == key.lower()), key)
        if isinstance(value, Mapping):
            yield from doubled(value, level.inside(name))


def as_read(content: bytes | None, era: Era) -> Table:
    return read(tomllib.loads((content or b"").decode()), keys.ROOT, keys.matching(era))


@given(cases(), st.booleans(), st.data())
def test_any_case_is_served_alike_in_one_spelling_and_undone(
    case: tuple[str, Table, Table],
    in_place: bool,  # noqa: FBT001 - drawn
    data: st.DataObject,
) -> None:
    engine, meaning, spelled = case
    asked = request(engine, drop_in=None if in_place else DROP_IN)
    era = era_of(asked)
    plain = MemoryFiles.holding({TOP: canonical(meaning).encode()})
    files = MemoryFiles.holding({TOP: canonical(spelled).encode()})
    note(canonical(spelled))
    apply(ADAPTER.edits(asked, plain.view()), plain)
    edits = ADAPTER.edits(asked, files.view())
    apply(edits, files)
    for each in edits.edits:
        note(f"{each.path}:\n{(each.after or b'').decode()}")
    found, wanted = (read_merged(asked, each.view()).cri for each in (files, plain))
    assert found == wanted
    served = read_merged(asked, files.view())
    assert {each.name: binary_of(served.handlers[each.name], era) for each in HANDLERS} == {
        each.name: each.binary_path for each in HANDLERS
    }
    assert list(doubled(served.as_spelled, keys.CRI)) == []
    assert ADAPTER.edits(asked, files.view()).edits == ()
    for each in edits.edits:
        after = tomllib.loads((each.after or b"").decode())
        canonical_after = read(after, keys.ROOT, keys.matching(Era.MERGES))
        old = era is Era.REPLACES
        other = data.draw(in_any_case(canonical_after, old=old))
        now = canonical(other).encode()
        note(f"now:\n{now.decode()}")
        left = ADAPTER.strip_our_changes(each, now)
        assert as_read(left, era) == as_read(each.before, era)


def test_a_spelling_that_1_x_does_not_take_is_no_option_there_and_not_inherited() -> None:
    text = canonical(
        {
            "version": 2,
            "plugins": {
                plugin(2): {
                    "containerd": {
                        "runtimes": {
                            "runc": {
                                "runtime_type": RUNC,
                                "options": {"Systemdcgroup": True, "BinaryName": "/x"},
                            }
                        }
                    }
                }
            },
        }
    )
    for engine, taken in (("1.7.24", {}), ("2.1.9", {"SystemdCgroup": True})):
        files = MemoryFiles.holding({TOP: text.encode()})
        asked = request(engine)
        apply(ADAPTER.edits(asked, files.view()), files)
        found = read_merged(asked, files.view()).handlers["nvidia"]
        assert found["options"] == {**taken, "BinaryName": HANDLERS[0].binary_path}
