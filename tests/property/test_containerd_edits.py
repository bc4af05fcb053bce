"""Whatever containerd's files say: our handlers come in, come in once, and go out again."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from runtime_configs.containerd.merged import read_merged
from runtime_configs.containerd.schema import era_of, plugin
from runtime_configs.containerd.shim import binary_of
from runtime_configs.formats.merge import merge3
from runtime_configs.model import ConfigError
from tests.fakes.memory_files import MemoryFiles
from tests.unit.containerd.hosts import ADAPTER, HANDLERS, TOP, apply, request

NAMES = st.sampled_from(["runc", "crun", "kata", "nvidia"])
TYPES = st.sampled_from(["io.containerd.runc.v2", "io.containerd.kata.v2"])
BINARIES = st.sampled_from(["/usr/bin/runc", "/usr/bin/nvidia-container-runtime", ""])


@st.composite
def handler(draw: st.DrawFn, key: str) -> str:
    """Return one handler's tables."""
    name = draw(NAMES)
    text = f'[plugins."{key}".containerd.runtimes.{name}]\nruntime_type = "{draw(TYPES)}"\n'
    if draw(st.booleans()):
        flag = draw(st.sampled_from(["true", "false"]))
        text += f'[plugins."{key}".containerd.runtimes.{name}.options] # kept\n'
        text += f'  BinaryName = "{draw(BINARIES)}"\n  SystemdCgroup = {flag}\n'
    return text


@st.composite
def file(draw: st.DrawFn, version: int, imports: str = "") -> str:
    """Return one file of a config version."""
    key = plugin(version)
    text = f"version = {version}\n" if version > 1 else ""
    text = draw(st.sampled_from(["", "# a comment\n\n"])) + imports + text
    if draw(st.booleans()):
        text += f'[plugins."{key}".containerd]\ndefault_runtime_name = "{draw(NAMES)}"\n'
    tables = draw(st.lists(handler(key), max_size=3, unique_by=lambda each: each.split("]")[0]))
    return text + "".join(tables)


@st.composite
def hosts(draw: st.DrawFn) -> tuple[str | None, dict[str, bytes]]:
    """Return an engine's version and the files that it reads."""
    engine = draw(st.sampled_from(["1.6.20", "1.7.24", "2.0.11", "2.1.9", "2.3.4", None]))
    newest = 3 if engine is not None and engine.startswith("2") else 2
    version = draw(st.integers(2, newest))
    found: dict[str, bytes] = {}
    if draw(st.booleans()):
        imports = draw(st.sampled_from(["", 'imports = ["/etc/containerd/conf.d/*.toml"]\n']))
        found[TOP] = draw(file(version, imports)).encode()
    for name in draw(st.lists(st.sampled_from(["10-a.toml", "zz-b.toml"]), unique=True)):
        found[f"/etc/containerd/conf.d/{name}"] = draw(file(version)).encode()
    return engine, found


@settings(max_examples=150, deadline=None)
@given(hosts(), st.sampled_from(["nvidia", None]), st.booleans())
def test_our_handlers_come_in_once_and_go_out_to_the_byte(
    host: tuple[str | None, dict[str, bytes]],
    default: str | None,
    cdi: bool,  # noqa: FBT001 - drawn
) -> None:
    engine, before = host
    files = MemoryFiles.holding(dict(before))
    asked = request(engine, default=default, enable_cdi=cdi or None)
    try:
        edits = ADAPTER.edits(asked, files.view())
    except ConfigError as error:
        served = "would not serve" in error.message or "somebody's sandbox" in error.message
        assert served
        assert files.contents() == before
        return
    apply(edits, files)
    found = read_merged(asked, files.view())
    assert {each.name: each.binary_path for each in HANDLERS}.items() <= {
        name: binary_of(table, era_of(asked)) for name, table in found.handlers.items()
    }.items()
    assert default is None or found.default == default
    assert ADAPTER.edits(asked, files.view()).edits == ()
    for each in edits.edits:
        back = merge3(each.before, each.after, each.after, each.format, path=each.path)
        assert back == each.before
