"""Find settings in the edited files with which containerd would not start.

Its dump command does not check them: 2.x prints bare defaults for a missing import, and no version
runs the CRI plugin's validation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from runtime_configs.adapter import ConfigRequest, Fault
from runtime_configs.containerd import schema
from runtime_configs.containerd.handlers import LEGACY_DEFAULT
from runtime_configs.containerd.imports import (
    LoadedFile,
    directory,
    every_file,
    import_patterns,
    resolve,
)
from runtime_configs.containerd.merged import Merged, merge
from runtime_configs.containerd.schema import IMAGES, Era
from runtime_configs.formats.lines import line_of
from runtime_configs.formats.values import MISSING, KeyPath, deep_merge, lookup, table, text_at
from runtime_configs.model import Format
from runtime_configs.overlay import Overlay
from runtime_configs.shims import OLD_LINUX, RUNC_V2

SERVER = schema.PLUGIN_V2
"""In version 3 this plugin has only the settings of the streaming server."""
_DURATION = re.compile(r"[+-]?(?:0|(?:\d+\.?\d*|\.\d+)(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h))+")
FIB: Final = "/proc/1/net/fib_trie"
"""The host's own IPv4 addresses, as the kernel lists them for PID 1."""
SINCE_ALL_DEVICES = (1, 7, 0)
SINCE_BIN_DIRS = (2, 1, 0)


def missing_imports(request: ConfigRequest, edited: Overlay) -> Iterator[Fault]:
    """Yield each import of a missing file: no version starts with one.

    (``resolveImports`` and ``LoadConfig`` of 1.6 to 2.3: only a pattern may match nothing.) Raises
    ConfigError for a file that does not parse.
    """
    for each in every_file(request, edited):
        for pattern in import_patterns(each.document, each.path):
            if "*" in pattern:
                continue
            for path in resolve(pattern, each.path, edited, request.version):
                if edited.read(path) is None:
                    yield _fault(edited, each, ("imports",), _absent(pattern, path), pattern)


def _absent(pattern: str, path: str) -> str:
    named = pattern if pattern == path else f"{pattern} ({path})"
    return f"it imports {named}, which is not there"


def cri_faults(request: ConfigRequest, edited: Overlay) -> Iterator[Fault]:
    """Yield what the CRI plugin rejects. Raises ConfigError for a file that does not parse.

    (``ValidatePluginConfig`` in ``pkg/cri/config/config.go`` of 1.6 and 1.7;
    ``ValidateRuntimeConfig``, ``ValidateImageConfig`` and ``ValidateServerConfig`` in
    ``internal/cri/config/config.go`` of 2.x.)
    """
    files = every_file(request, edited)
    merged = merge(files, schema.era_of(request))
    found = _Settings(request=request, merged=merged, cri=_parts(merged))
    for where, message in _refused(found):
        place = _last_with(files, *_of_cri(where))
        if place is None:
            yield Fault(path=request.top_level, line=None, message=message)
        else:
            yield _fault(edited, *place, message)
    yield from _addresses(files, edited)
    yield from _directories(files, edited)


def _directories(files: Sequence[LoadedFile], edited: Overlay) -> Iterator[Fault]:
    """Yield root and state if they are the same directory (``CreateTopLevelDirectories``)."""
    place = _last_with(files, ("state",), ("root",))
    if place is not None and directory(files, "root") == directory(files, "state"):
        yield _fault(edited, *place, "root and state are one directory", hidden=True)


def _addresses(files: Sequence[LoadedFile], edited: Overlay) -> Iterator[Fault]:
    """Yield each address on which containerd would listen and that the host does not have.

    containerd then ends right after its start (``serve`` in ``cmd/containerd/command/main.go``,
    ``Run`` of the CRI service).
    """
    addresses = (edited.read(FIB) or b"").decode(errors="replace")
    local = re.findall(r"\|-- (\S+)\s+/32 host LOCAL", addresses)
    if not local:
        return
    for name, paths in (
        ("metrics.address", [("metrics", "address")]),
        ("grpc.tcp_address", [("grpc", "tcp_address")]),
        ("stream_server_address", _of_cri(("stream_server_address",))),
    ):
        # An empty text in a later file overrides nothing.
        places = [(each, path) for each in files for path in paths if text_at(each.document, *path)]
        value = text_at(places[-1][0].document, *places[-1][1]) if places else ""
        if _is_absent(value.rpartition(":")[0] or value, local):
            message = f"{name} is {value}, which is no address of this host"
            yield _fault(edited, *places[-1], message, hidden=True)


def _is_absent(host: str, local: Sequence[str]) -> bool:
    """Return whether a text is an IPv4 address that the host lacks; names are not resolved."""
    literal = re.fullmatch(r"\d+(?:\.\d+){3}", host) is not None
    return literal and not host.startswith("127.") and host not in ("0.0.0.0", *local)  # noqa: S104


class _Settings(Struct, frozen=True, kw_only=True):
    """The input of the rules."""

    request: ConfigRequest
    merged: Merged
    cri: Mapping[str, object]
    """The settings of all parts of the CRI plugin."""

    @property
    def since(self) -> tuple[int, int, int]:
        """The engine's version; the oldest if unknown."""
        version = self.request.version
        return (1, 6, 0) if version is None else version.numbers

    @property
    def handlers(self) -> Mapping[str, Mapping[str, object]]:
        """The handlers, including the built-in one unless it is dropped."""
        named = self.merged.handlers
        built_in = {schema.RUNC: {"runtime_type": RUNC_V2}}
        if self.merged.era is Era.REPLACES:
            found = named if "runtimes" in self.merged.containerd else built_in
            legacy = self.merged.legacy_default
            return {**found, LEGACY_DEFAULT: legacy} if legacy else found
        return {**built_in, **named}

    @property
    def default(self) -> object:
        """The default handler's name."""
        if self.merged.legacy_default:
            return LEGACY_DEFAULT
        return self.merged.containerd.get("default_runtime_name", schema.RUNC)


def _parts(merged: Merged) -> Mapping[str, object]:
    """Join the tables that version 3 has in separate plugins."""
    found = dict(merged.cri)
    if merged.era is not Era.REPLACES:
        for name in (IMAGES, SERVER):
            for each in merged.files:
                deep_merge(found, table(each.document, "plugins", name))
        found["containerd"] = merged.containerd
    return found


def _refused(found: _Settings) -> Iterator[tuple[KeyPath, str]]:
    """Yield rejected key paths below the CRI plugin's table, each with the reason."""
    yield from _default(found)
    if found.merged.era is Era.REPLACES:
        yield from _of_the_old_shim(found)
    yield from _handlers(found)
    yield from _registry(found)
    keys = ["stream_idle_timeout", "drain_exec_sync_io_timeout"]
    if found.since >= SINCE_ALL_DEVICES:
        keys.append("image_pull_progress_timeout")
    for key in keys:
        value = found.cri.get(key, "")
        if isinstance(value, str) and value and not _DURATION.fullmatch(value):
            yield (key,), f'{key} is "{value}", which is no duration'
    cni = table(found.cri, "cni")
    if found.since >= SINCE_BIN_DIRS and cni.get("bin_dir"):
        listed = cni.get("bin_dirs")
        if isinstance(listed, list) and listed and listed != ["/opt/cni/bin"]:
            yield ("cni", "bin_dir"), "cni.bin_dir and cni.bin_dirs exclude each other"


def _default(found: _Settings) -> Iterator[tuple[KeyPath, str]]:
    name, key = found.default, ("containerd", "default_runtime_name")
    if name == "":
        yield key, "default_runtime_name is empty"
    elif isinstance(name, str) and name not in found.handlers:
        yield key, f'default_runtime_name is "{name}", which is no handler'


def _of_the_old_shim(found: _Settings) -> Iterator[tuple[KeyPath, str]]:
    """Yield settings that 1.x only allows for the shim before 1.4."""
    kind = found.handlers.get(str(found.default), {}).get("runtime_type")
    for key in ("systemd_cgroup", "no_pivot"):
        if found.cri.get(key) is True and kind != OLD_LINUX:
            yield (key,), f"{key} = true only works for runtime {OLD_LINUX}"
    for name, handler in found.handlers.items():
        for key in ("runtime_engine", "runtime_root"):
            if handler.get(key) and handler.get("runtime_type") != OLD_LINUX:
                where = ("containerd", "runtimes", name, key)
                yield where, f"{key} of handler {name} only works for runtime {OLD_LINUX}"
    untrusted = table(found.merged.containerd, "untrusted_workload_runtime")
    if untrusted.get("runtime_type") and "untrusted" in found.handlers:
        key = "untrusted_workload_runtime"
        yield (
            ("containerd", key),
            "untrusted_workload_runtime and runtimes.untrusted exclude each other",
        )


def _handlers(found: _Settings) -> Iterator[tuple[KeyPath, str]]:
    devices = "privileged_without_host_devices"
    for name, handler in found.handlers.items():
        where = ("containerd", "runtimes", name)
        more = f"{devices}_all_devices_allowed"
        if found.since >= SINCE_ALL_DEVICES and handler.get(more) and not handler.get(devices):
            yield (*where, more), f"{more} of handler {name} requires {devices}"
        kind = handler.get("io_type", "")
        if found.merged.era is not Era.REPLACES and kind not in ("", "fifo", "streaming"):
            yield (*where, "io_type"), f'io_type of handler {name} is "{kind}", not "fifo"'


def _registry(found: _Settings) -> Iterator[tuple[KeyPath, str]]:
    registry = table(found.cri, "registry")
    if not registry.get("config_path"):
        return
    if registry.get("mirrors"):
        yield ("registry", "mirrors"), "registry.mirrors cannot be set beside registry.config_path"
    configs = table(registry, "configs")
    if found.merged.era is Era.REPLACES and any("tls" in table(configs, name) for name in configs):
        yield ("registry", "configs"), "registry.configs.*.tls excludes registry.config_path"


def _of_cri(where: KeyPath) -> list[KeyPath]:
    """Return the key paths of a CRI setting: in version 3 it may be in any of three plugins."""
    names = (schema.PLUGIN_V3, IMAGES, SERVER, schema.PLUGIN_V1)
    return [("plugins", name, *where) for name in names]


def _last_with(files: Sequence[LoadedFile], *paths: KeyPath) -> tuple[LoadedFile, KeyPath] | None:
    """Return the last file with one of the key paths, and the first of them that it has."""
    places = ((file, path) for file in reversed(files) for path in paths)
    return next((each for each in places if lookup(each[0].document, each[1]) is not MISSING), None)


def _fault(
    edited: Overlay,
    file: LoadedFile,
    where: KeyPath,
    message: str,
    text: str = "",
    *,
    hidden: bool = False,
) -> Fault:
    """Return a fault with its line in the present file."""
    line = line_of(edited.present.read(file.path) or b"", where, Format.TOML, text)
    return Fault(path=file.path, line=line, message=message, hidden=hidden)
