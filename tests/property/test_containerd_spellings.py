"""However an admin spells a config: the engine gets the same handlers, and the bytes come back."""

from __future__ import annotations

import tomllib

from hypothesis import assume, given, note
from hypothesis import strategies as st

from runtime_configs.containerd.schema import plugin
from runtime_configs.formats.documents import load
from runtime_configs.formats.merge import merge3
from runtime_configs.model import Format
from tests.fakes.memory_files import MemoryFiles
from tests.property.spellings import Spelling, Table, spellings
from tests.unit.containerd.hosts import ADAPTER, DROP_IN, TOP, apply, request


@st.composite
def configs(draw: st.DrawFn) -> tuple[str, Table]:
    """Return an engine's version and what its file says."""
    engine = draw(st.sampled_from(["1.6.20", "1.7.24", "2.1.9", "2.3.4"]))
    number = draw(st.integers(2, 3 if engine.startswith("2") else 2))
    runtime: dict[str, object] = {"runtime_type": "io.containerd.runc.v2"}
    if draw(st.booleans()):
        runtime["options"] = {"SystemdCgroup": True, "BinaryName": "/usr/bin/crun"}
    names = draw(st.lists(st.sampled_from(["runc", "crun", "nvidia", "a.b"]), unique=True))
    containerd: dict[str, object] = {"runtimes": dict.fromkeys(names, runtime)}
    if not names and draw(st.booleans()):
        containerd = {}
    if "crun" in names and draw(st.booleans()):
        containerd["default_runtime_name"] = "crun"
    cri: dict[str, object] = {"sandbox_image": "pause:1", "containerd": containerd}
    if draw(st.booleans()):
        cri["registry"] = {"config_path": "/etc/certs.d", "mirrors": {}}
    if draw(st.integers(0, 5)) == 0:
        cri = {}
    meaning: dict[str, object] = {"version": number, "plugins": {plugin(number): cri}}
    if draw(st.booleans()):
        meaning["imports"] = ["/etc/containerd/conf.d/*.toml"]
    if draw(st.booleans()):
        meaning["grpc"] = {"gid": 0, "x.y": {"deep": {"er": "v"}}}
    return engine, meaning


CASES = configs().flatmap(
    lambda config: st.tuples(st.just(config[0]), spellings(config[1]), st.just(config[1]))
)


def canonical(table: Table, path: str = "") -> str:
    """Spell a config out in the plainest form."""
    own = {key: value for key, value in table.items() if not isinstance(value, dict)}
    text = f"[{path}]\n" if path else ""
    text += "".join(f"{key} = {toml(value)}\n" for key, value in own.items())
    for key, value in table.items():
        if isinstance(value, dict):
            text += canonical(value, f"{path}.{toml(key)}" if path else toml(key))
    return text


def toml(value: object) -> str:
    return repr(value).replace("'", '"').replace("True", "true").replace("False", "false")


def parsed(content: bytes | None) -> Table:
    return tomllib.loads((content or b"").decode().removeprefix("\ufeff"))


def own_part(content: bytes | None) -> Table:
    return {key: value for key, value in parsed(content).items() if key != "noise"}


@given(CASES, st.booleans(), st.booleans())
def test_every_spelling_serves_the_same_and_comes_back(
    case: tuple[str, Spelling, Table],
    default: bool,  # noqa: FBT001 - drawn
    in_place: bool,  # noqa: FBT001 - drawn
) -> None:
    engine, spelling, meaning = case
    note(spelling.text)
    try:
        assume(own_part(spelling.content) == meaning)
    except tomllib.TOMLDecodeError:
        assume(False)  # noqa: FBT003 - hypothesis's own
    asked = request(
        engine,
        default="nvidia" if default else None,
        drop_in=None if in_place else DROP_IN,
    )
    plain = MemoryFiles.holding({TOP: canonical(meaning).encode()})
    files = MemoryFiles.holding({TOP: spelling.content})
    apply(ADAPTER.edits(asked, plain.view()), plain)
    edits = ADAPTER.edits(asked, files.view())
    apply(edits, files)
    assert load(spelling.content, Format.TOML, path=TOP) == parsed(spelling.content)
    for each in edits.edits:
        note(f"{each.path}:\n{(each.after or b'').decode()}")
    assert {path: own_part(text) for path, text in files.contents().items()} == {
        path: own_part(text) for path, text in plain.contents().items()
    }
    assert ADAPTER.edits(asked, files.view()).edits == ()
    for each in edits.edits:
        assert (
            merge3(each.before, each.after, each.after, each.format, path=each.path) == each.before
        )
        now = b"# seen\n" + (each.after or b"").removeprefix("\ufeff".encode())
        back = merge3(each.before, each.after, now, each.format, path=each.path)
        assert parsed(back) == parsed(each.before)
        assert each.before is None or Format.TOML is not each.format or b"# seen" in (back or b"")
