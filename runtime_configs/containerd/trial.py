"""Copies of the edited files with which a second containerd can start beside the first.

The root, state and socket are set by flags. The copies replace what the files themselves name:
other sockets and ports, the cgroup, NRI plugins, and directories that it would create on the host.
"""

from __future__ import annotations

import copy
import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from runtime_configs.adapter import ConfigRequest, Placement, Trial
from runtime_configs.containerd import schema
from runtime_configs.containerd.imports import LoadedFile, every_file
from runtime_configs.containerd.schema import Era
from runtime_configs.formats.documents import edited_to, load
from runtime_configs.formats.values import table
from runtime_configs.model import Format, HostView

BOOTED: Final = b"containerd successfully booted"
SERVER: Final = schema.PLUGIN_V2
PLUGINS: Final = (schema.PLUGIN_V3, "io.containerd.cri.v1.images", schema.PLUGIN_V2)
"""The CRI plugin's parts; the first failure is the reason, the others follow from it."""
NRI: Final = ("io.containerd.nri.v1.nri", "nri")
LEVELS = re.compile(r"(?i)(?:panic|fatal|error|warn|warning|info|debug|trace)?\Z")
FORMATS = re.compile(r"(?:text|json)?\Z")
ADDRESS = re.compile(r"[^:]*:\d+\Z|\[[^]]*\]:\d+\Z")
PORT = re.compile(r"\d+\Z")
_FAILED = re.compile(
    r'level=(?:warning|error) msg="failed to load plugin(?: (?P<old>[^"\\ ]+))?" '
    r'error=(?P<why>"(?:[^"\\]|\\.)*"|\S+)(?: id=(?P<new>\S+))?'
)
"""The log lines of 1.x and 2.x (``server.New``)."""


def trial(request: ConfigRequest, view: HostView, directory: str) -> Trial | None:
    """Return copies of every file that would be loaded; None for a template.

    Raises ConfigError for a file that does not parse.
    """
    if request.placement is Placement.TEMPLATE:
        return None
    loaded = every_file(request, view)
    names = [posixpath.join(directory, f"{index:03}.toml") for index in range(len(loaded))]
    usable, files = _usable_snapshotters(loaded, view), []
    for name, each in zip(names, loaded, strict=True):
        content = view.read(each.path) or b""
        document: dict[str, Any] = copy.deepcopy(dict(load(content, Format.TOML, path=each.path)))
        for key in [each for each in document if each.lower() == "imports"]:
            del document[key]
        if name == names[0] and len(names) > 1:
            document["imports"] = names[1:]
        _turn_away(document, directory)
        _plain_snapshotters(document, usable)
        if each is _owner(loaded, request):
            _give_place(document, each, directory)
        files.append((name, edited_to(content, document, Format.TOML, path=each.path)))
    if not files:
        names = [posixpath.join(directory, "000.toml")]
        files = [(names[0], b"version = 2\n")]
    return Trial(
        files=tuple(files),
        arguments=(
            *("--config", names[0], "--root", f"{directory}/root", "--state", f"{directory}/state"),
            *("--address", f"{directory}/containerd.sock"),
        ),
        until=(BOOTED,),
        refusal=refusal,
    )


def refusal(text: str) -> str | None:
    """Return why the CRI plugin failed to load, from containerd's log; None if it was loaded."""
    found: dict[str, str] = {}
    for match in _FAILED.finditer(text):
        found.setdefault(match["old"] or match["new"] or "", match["why"])
    why = next((found[each] for each in PLUGINS if each in found), None)
    if why is None:
        return None
    try:
        return str(json.loads(why))
    except ValueError:
        return why


def _turn_away(document: dict[str, Any], directory: str) -> None:
    """Replace paths on the host; values that are no strings stay, for the engine to reject."""
    for name, key, value in (
        ("grpc", "address", f"{directory}/containerd.sock"),
        ("ttrpc", "address", f"{directory}/containerd.sock.ttrpc"),
        ("debug", "address", ""),
        ("cgroup", "path", ""),
    ):
        _replace_text(document.get(name), key, value)
    # An invalid level, format or address stays: containerd rejects it.
    _replace_text(document.get("debug"), "level", "info", LEVELS)
    _replace_text(document.get("debug"), "format", "text", FORMATS)
    _replace_text(document.get("grpc"), "tcp_address", "", ADDRESS)
    _replace_text(document.get("metrics"), "address", "127.0.0.1:0", ADDRESS)
    for key in ("root", "state", "temp"):
        if isinstance(document.get(key), str):
            del document[key]
    if type(document.get("oom_score")) is int:
        del document["oom_score"]
    plugins = document.get("plugins")
    if not isinstance(plugins, dict):
        return
    for name, plugin in plugins.items():
        if not isinstance(plugin, dict):
            continue
        _replace_text(plugin, "root_path", "")
        if name in NRI and type(plugin.get("disable")) is not str:
            plugin["disable"] = True
        if name in (*PLUGINS, schema.PLUGIN_V1):
            _of_cri(plugin, directory)


def _of_cri(plugin: dict[str, Any], directory: str) -> None:
    _replace_text(plugin, "stream_server_address", "127.0.0.1")
    _replace_text(plugin, "stream_server_port", "0", PORT)
    _replace_text(plugin.get("cni"), "conf_dir", f"{directory}/cni")
    containerd = plugin.get("containerd")
    runtimes = containerd.get("runtimes") if isinstance(containerd, dict) else None
    for handler in runtimes.values() if isinstance(runtimes, dict) else ():
        _replace_text(handler, "cni_conf_dir", "")


def _replace_text(
    table: object, key: str, value: str, which: re.Pattern[str] = re.compile("")
) -> None:
    present = table.get(key) if isinstance(table, dict) else None
    if isinstance(table, dict) and isinstance(present, str) and which.match(present):
        table[key] = value


def _plain_snapshotters(document: dict[str, Any], usable: frozenset[str]) -> None:
    """Replace the host's snapshotters by the one that works on any file system."""
    plugins = document.get("plugins")
    for name in (*PLUGINS, schema.PLUGIN_V1):
        plugin = plugins.get(name) if isinstance(plugins, dict) else None
        if not isinstance(plugin, dict):
            continue
        containerd, platforms = plugin.get("containerd"), plugin.get("runtime_platforms")
        runtimes = containerd.get("runtimes") if isinstance(containerd, dict) else None
        tables: list[object] = [plugin, containerd]
        for each in (runtimes, platforms):
            tables += each.values() if isinstance(each, dict) else ()
        for each in tables:
            if isinstance(each, dict) and each.get("snapshotter") in usable:
                each["snapshotter"] = "native"


def _usable_snapshotters(loaded: Sequence[LoadedFile], view: HostView) -> frozenset[str]:
    """Return the snapshotters that work on the host and not in the trial.

    There devices are hidden, and the root directory is on another file system.
    """
    root, found = "/var/lib/containerd", set()
    for each in loaded:
        value = each.document.get("root")
        root = value if isinstance(value, str) and value else root
        if table(each.document, "plugins", "io.containerd.snapshotter.v1.devmapper").get(
            "pool_name"
        ):
            found.add("devmapper")
        if table(each.document, "plugins", "io.containerd.snapshotter.v1.blockfile").get(
            "scratch_file"
        ):
            found.add("blockfile")
    mounts = (view.read("/proc/1/mounts") or b"").decode(errors="replace")
    best = ("", "")
    for line in mounts.splitlines():
        _, point, kind = f"{line}   ".split(" ")[:3]
        inside = f"{root}/".startswith(point if point.endswith("/") else f"{point}/")
        if inside and len(point) >= len(best[0]):
            best = (point, kind)
    return frozenset(found | ({best[1]} & {"btrfs", "zfs"}))


def _owner(loaded: Sequence[LoadedFile], request: ConfigRequest) -> LoadedFile:
    """Return the file with the effective CRI table: on 1.x one in another file would replace it."""
    if schema.era_of(request) is Era.REPLACES:
        for each in reversed(loaded):
            plugins = each.document.get("plugins")
            if isinstance(plugins, Mapping) and schema.plugin(each.version) in plugins:
                return each
    return loaded[0]


def _give_place(document: dict[str, Any], file: LoadedFile, directory: str) -> None:
    """Replace defaults on the host: CNI's directory, which is created if missing."""
    plugins = document.setdefault("plugins", {})
    plugin = plugins.setdefault(schema.plugin(file.version), {}) if type(plugins) is dict else None
    cni = plugin.setdefault("cni", {}) if isinstance(plugin, dict) else None
    if isinstance(cni, dict):
        cni.setdefault("conf_dir", f"{directory}/cni")
    if isinstance(plugins, dict):
        nri = plugins.setdefault(NRI[0] if file.version > 1 else NRI[1], {})
        if isinstance(nri, dict):
            nri.setdefault("disable", True)
