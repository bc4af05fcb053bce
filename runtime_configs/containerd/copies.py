"""Copies of the edited files, for containerd's own binary to load and to start on.

A second containerd starts beside the first: its root, state and socket are set by flags. The copies
for it replace what the files themselves name: other sockets and ports, the cgroup, NRI plugins, and
directories that it would create on the host.
"""

from __future__ import annotations

import copy
import json
import posixpath
import re
from collections.abc import Sequence
from typing import Any, Final

from runtime_configs.adapter import ConfigRequest, DryRun, Placement, Trial
from runtime_configs.containerd import imports, keys, schema
from runtime_configs.containerd.imports import LoadedFile, every_file
from runtime_configs.containerd.merged import has_plugin
from runtime_configs.containerd.schema import CRI_PLUGINS, IMAGES, Era
from runtime_configs.formats.documents import Change, edited_to, load
from runtime_configs.formats.key_case import apply_spelled
from runtime_configs.formats.values import REMOVE, table
from runtime_configs.model import Format, HostView

BOOTED: Final = b"containerd successfully booted"
PARTS: Final = (schema.PLUGIN_V3, IMAGES, schema.PLUGIN_V2)
"""The CRI plugin's parts; the first failure is the reason, the others follow from it."""
NRI: Final = ("io.containerd.nri.v1.nri", "nri")
NEEDED: Final = {"devmapper": "pool_name", "blockfile": "scratch_file"}
"""Snapshotters that work only with a device or a file, and the key that names it."""
ANY = re.compile("")
LEVELS = re.compile(r"(?i)(?:panic|fatal|error|warn|warning|info|debug|trace)?\Z")
FORMATS = re.compile(r"(?:text|json)?\Z")
ADDRESS = re.compile(r"[^:]*:\d+\Z|\[[^]]*\]:\d+\Z")
PORT = re.compile(r"\d+\Z")
_FAILED = re.compile(
    r'level=(?:warning|error) msg="failed to load plugin(?: (?P<old>[^"\\ ]+))?" '
    r'error=(?P<why>"(?:[^"\\]|\\.)*"|\S+)(?: id=(?P<new>\S+))?'
)
"""The log lines of 1.x and 2.x (``server.New``)."""


def dry_run(request: ConfigRequest, view: HostView, directory: str) -> DryRun | None:
    """Return copies of every file that would be loaded, in one flat directory.

    The top-level copy imports all others explicitly in their load order, so that relative and
    nested imports mean the same in another directory. Imports of missing files are left out, as
    ``missing_imports`` reports them. None for a template, which only the distribution can render.
    """
    if request.placement is Placement.TEMPLATE:
        return None
    loaded = every_file(request, view)
    if not loaded:
        return DryRun(files=(), arguments=("config", "default"))
    names = [posixpath.join(directory, f"{index:03}.toml") for index in range(len(loaded))]
    matching = keys.matching(schema.era_of(request))
    files = []
    for name, each in zip(names, loaded, strict=True):
        content = view.read(each.path) or b""
        others = names[1:] if name == names[0] else []
        if others or imports.import_patterns(each.document, each.path):
            change = Change(path=("imports",), value=others or REMOVE)
            content = apply_spelled(
                content, [change], Format.TOML, keys.ROOT, matching, path=each.path
            )
        files.append((name, content))
    return DryRun(files=tuple(files), arguments=("--config", names[0], "config", "dump"))


def trial(request: ConfigRequest, view: HostView, directory: str) -> Trial | None:
    """Return the same copies, with nothing in them that leads to the host; None for a template.

    Raises ConfigError for a file that does not parse.
    """
    copies = dry_run(request, view, directory)
    if copies is None:
        return None
    loaded = every_file(request, view)
    usable, files = _usable_snapshotters(loaded, view), []
    for (name, content), each in zip(copies.files, loaded, strict=True):
        document: dict[str, Any] = copy.deepcopy(dict(load(content, Format.TOML, path=each.path)))
        _turn_away(document, directory)
        for plugin in CRI_PLUGINS:
            _turn_away_cri(_at(document, "plugins", plugin), directory, usable)
        if each is _owner(loaded, request):
            # Defaults on the host: CNI's directory is created if it is missing.
            plugin = schema.plugin(each.version)
            _set_default(document, ("plugins", plugin, "cni", "conf_dir"), f"{directory}/cni")
            nri = NRI[0] if each.version > 1 else NRI[1]
            _set_default(document, ("plugins", nri, "disable"), value=True)
        files.append((name, edited_to(content, document, Format.TOML, path=each.path)))
    if not files:
        files = [(posixpath.join(directory, "000.toml"), b"version = 2\n")]
    return Trial(
        files=tuple(files),
        arguments=(
            *("--config", files[0][0], "--root", f"{directory}/root"),
            *("--state", f"{directory}/state", "--address", f"{directory}/containerd.sock"),
        ),
        until=(BOOTED,),
        failure=plugin_failure,
    )


def plugin_failure(text: str) -> str | None:
    """Return why the CRI plugin failed to load, from containerd's log; None if it was loaded."""
    found: dict[str, str] = {}
    for match in _FAILED.finditer(text):
        found.setdefault(match["old"] or match["new"] or "", match["why"])
    why = next((found[each] for each in PARTS if each in found), None)
    if why is None:
        return None
    try:
        return str(json.loads(why))
    except ValueError:
        return why


def _turn_away(document: dict[str, Any], directory: str) -> None:
    """Replace paths on the host; values that are no strings stay, for the engine to reject."""
    for name, key, value, which in (
        ("grpc", "address", f"{directory}/containerd.sock", ANY),
        ("ttrpc", "address", f"{directory}/containerd.sock.ttrpc", ANY),
        ("debug", "address", "", ANY),
        ("cgroup", "path", "", ANY),
        # An invalid level, format or address stays: containerd rejects it.
        ("debug", "level", "info", LEVELS),
        ("debug", "format", "text", FORMATS),
        ("grpc", "tcp_address", "", ADDRESS),
        ("metrics", "address", "127.0.0.1:0", ADDRESS),
    ):
        _replace_text(_at(document, name), key, value, which)
    for key in ("root", "state", "temp"):
        if isinstance(document.get(key), str):
            del document[key]
    if type(document.get("oom_score")) is int:
        del document["oom_score"]
    for each in _tables(document, "plugins"):
        _replace_text(each, "root_path", "")
    for name in NRI:
        nri = _at(document, "plugins", name)
        if type(nri.get("disable")) is not str:
            nri["disable"] = True


def _turn_away_cri(cri: dict[str, Any], directory: str, usable: Sequence[str]) -> None:
    """Replace addresses, CNI's directory, and snapshotters that only work on the host."""
    _replace_text(cri, "stream_server_address", "127.0.0.1")
    _replace_text(cri, "stream_server_port", "0", PORT)
    _replace_text(_at(cri, "cni"), "conf_dir", f"{directory}/cni")
    handlers = _tables(cri, "containerd", "runtimes")
    for each in handlers:
        _replace_text(each, "cni_conf_dir", "")
    for each in (cri, _at(cri, "containerd"), *handlers, *_tables(cri, "runtime_platforms")):
        if each.get("snapshotter") in usable:
            each["snapshotter"] = "native"  # works on any file system


def _at(document: dict[str, Any], *path: str) -> dict[str, Any]:
    """Return the table at a key path, to be changed; one of no document if there is none."""
    for key in path:
        value = document.get(key)
        document = value if isinstance(value, dict) else {}
    return document


def _tables(document: dict[str, Any], *path: str) -> list[dict[str, Any]]:
    return [each for each in _at(document, *path).values() if isinstance(each, dict)]


def _replace_text(
    table: dict[str, Any], key: str, value: str, which: re.Pattern[str] = ANY
) -> None:
    present = table.get(key)
    if isinstance(present, str) and which.match(present):
        table[key] = value


def _set_default(document: dict[str, Any], path: Sequence[str], value: object) -> None:
    """Set a missing key, unless something on its path is no table."""
    inner = document.setdefault(path[0], {} if path[1:] else value)
    if path[1:] and isinstance(inner, dict):
        _set_default(inner, path[1:], value)


def _usable_snapshotters(loaded: Sequence[LoadedFile], view: HostView) -> tuple[str, ...]:
    """Return the snapshotters that work on the host and not in the trial.

    There devices are hidden, and the root directory is on another file system.
    """
    root, found = imports.directory(loaded, "root"), set()
    for each in loaded:
        for name, needed in NEEDED.items():
            if table(each.document, "plugins", f"io.containerd.snapshotter.v1.{name}").get(needed):
                found.add(name)
    mounts = (view.read("/proc/1/mounts") or b"").decode(errors="replace")
    best = ("", "")
    for line in mounts.splitlines():
        _, point, kind = f"{line}   ".split(" ")[:3]
        inside = f"{root}/".startswith(point if point.endswith("/") else f"{point}/")
        if inside and len(point) >= len(best[0]):
            best = (point, kind)
    return (*found, *({best[1]} & {"btrfs", "zfs"}))


def _owner(loaded: Sequence[LoadedFile], request: ConfigRequest) -> LoadedFile:
    """Return the file with the effective CRI table: on 1.x one in another file would replace it."""
    if schema.era_of(request) is not Era.REPLACES:
        return loaded[0]
    return next((each for each in reversed(loaded) if has_plugin(each, each.version)), loaded[0])
