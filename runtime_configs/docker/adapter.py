"""dockerd's ``daemon.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from runtime_configs import cdi
from runtime_configs.adapter import ConfigRequest, DryRun, Fault
from runtime_configs.docker import faults
from runtime_configs.docker.arguments import refuse_conflicts, without_config_file
from runtime_configs.docker.faults import HANDLER, KEYS, STOCK
from runtime_configs.formats import key_case
from runtime_configs.formats.comparison import NOT_IN_FORCE, differing
from runtime_configs.formats.documents import Change, apply_changes, load
from runtime_configs.formats.values import table, tables_of, text_at
from runtime_configs.model import (
    ConfigError,
    EditSet,
    EffectiveConfig,
    EngineName,
    Format,
    HostView,
    Role,
    ServedHandler,
)
from runtime_configs.one_table import OneTableAdapter
from runtime_configs.overlay import Overlay
from runtime_configs.shims import sandbox_error, starts_runc

EMPTY: Final = b"{}\n"
CDI_SINCE: Final = (25, 0, 0)
"""The first version with CDI, as a feature to enable."""
CDI_BY_DEFAULT: Final = (28, 2, 0)
VALIDATES: Final = (23, 0, 0)
"""The first version with ``dockerd --validate``."""
PROXY: Final = "userland-proxy-path"
"""Concerns a helper that dockerd looks up in the PATH, which is not the daemon's own here."""
RELOADED: Final = {"debug": "Debug", "labels": "Labels", "live-restore": "LiveRestoreEnabled"}
"""Keys that a live reload applies, with their members of ``/info``."""


class DockerAdapter(OneTableAdapter):
    """Adds handlers to ``daemon.json``, the only file: there are no drop-ins.

    There is no trial start: dockerd changes the network when it starts.
    """

    name = EngineName.DOCKER
    format = Format.JSON
    keys = KEYS
    handlers = ("runtimes",)
    default = ("default-runtime",)
    needed = frozenset({"path", "runtimeType"})

    def edits(self, request: ConfigRequest, view: HostView) -> EditSet:
        """Return the edit of ``daemon.json``; none if it already has the desired content."""
        path, result = request.top_level, self.draft(request, view)
        settings = result.document(path, Format.JSON)
        desired = request.desired
        if not desired.handlers and not (desired.enable_cdi and _lacks_cdi(request, settings)):
            return EditSet()
        refuse_conflicts(request)
        result.apply(path, _changes(request, settings), Role.TOP_LEVEL, Format.JSON)
        return result.result()

    def effective(self, dump: bytes) -> EffectiveConfig:
        """Decode the answer of ``/info``, or ``daemon.json`` if there is no answer."""
        raw = load(dump, Format.JSON, path="docker info")
        live = "Runtimes" in raw or "DefaultRuntime" in raw
        default = text_at(raw, "DefaultRuntime" if live else "default-runtime")
        found = tables_of(raw, ("Runtimes" if live else "runtimes",))
        dirs = raw.get("CDISpecDirs")
        handlers = {
            name: ServedHandler.read(
                name,
                key_case.read(handler, HANDLER),
                binary="path",
                kind="runtimeType",
            )
            for name, handler in found.items()
        }
        return EffectiveConfig(
            handlers=handlers,
            default=default or None,
            raw=raw,
            cdi_dirs=tuple(map(str, dirs if isinstance(dirs, list) else ())) if live else None,
        )

    def pending(
        self, live: EffectiveConfig, files: EffectiveConfig, request: ConfigRequest
    ) -> tuple[str, ...]:
        """Describe each setting of ``daemon.json`` that a live reload would apply.

        (``Reload`` in moby's ``daemon/reload.go``: only these apply without a restart and appear in
        ``/info``.)
        """
        ours = {each.name for each in request.desired.handlers}
        there = {
            name: {"path": each.binary_path}
            for name, each in live.handlers.items()
            if name in files.handlers and name not in ours
        }
        wanted = {
            name: {"path": each.binary_path}
            for name, each in files.handlers.items()
            if name not in ours and each.binary_path is not None
        }
        old: dict[str, object] = {"runtimes": there}
        new: dict[str, object] = {"runtimes": wanted}
        if files.default is not None and live.default not in ours:
            old["default-runtime"], new["default-runtime"] = live.default, files.default
        for key, member in RELOADED.items():
            if key in files.raw and member in live.raw:
                old[key], new[key] = live.raw[member], files.raw[key]
        return differing(old, new, (), NOT_IN_FORCE)

    def dry_run(self, request: ConfigRequest, view: HostView, directory: str) -> DryRun | None:
        """Return a run of ``dockerd --validate`` with the daemon's own flags.

        An absent file is replaced by an empty one, because dockerd insists on a file.
        """
        if request.version is None or request.version.numbers < VALIDATES:
            return None
        content = view.read(request.top_level)
        staged = f"{directory}/daemon.json"
        flags = without_config_file(request.engine_arguments)
        return DryRun(
            files=((staged, EMPTY if content is None else content),),
            arguments=(*flags, "--validate", "--config-file", staged),
            excused=PROXY,
            prints=False,
        )

    def faults(self, request: ConfigRequest, edited: Overlay) -> tuple[Fault, ...]:
        """Return what dockerd rejects. Raises ConfigError."""
        return tuple(faults.faults(request, edited))

    def files(self, request: ConfigRequest, view: HostView) -> Iterator[tuple[str, bytes, Role]]:
        """Yield ``daemon.json``."""
        yield request.top_level, view.read(request.top_level) or b"", Role.TOP_LEVEL

    def interim_content(
        self, current: bytes | None, target: bytes | None, default: str | None
    ) -> bytes | None:
        """Return the target, spelling out the keys that a reload would otherwise leave in force.

        dockerd keeps the value of a removed key, and 20.10 exits if the default handler is not
        among the file's handlers (tests/engine shows both).
        """
        try:
            now = load(current or b"", Format.JSON, path="daemon.json")
        except ConfigError:
            now = {}
        content = target or b""
        then = load(content, Format.JSON, path="daemon.json")
        gone = [
            key
            for key in ("runtimes", "default-runtime", "features")
            if now.get(key) is not None and then.get(key) is None
        ]
        if not gone:
            return None
        known = table(then, "runtimes")
        default = default or STOCK
        if default not in known and default in table(now, "runtimes"):
            default = STOCK
        values: dict[str, object] = {"runtimes": {}, "default-runtime": default, "features": {}}
        changes = [Change(path=(key,), value=values[key]) for key in gone]
        return apply_changes(content, changes, Format.JSON, path="daemon.json")


def _lacks_cdi(request: ConfigRequest, data: Mapping[str, object]) -> bool:
    value = table(data, "features").get("cdi")
    return not cdi.is_enabled(request, "dockerd", value, since=CDI_SINCE, by_default=CDI_BY_DEFAULT)


def _changes(request: ConfigRequest, data: Mapping[str, object]) -> Iterator[Change]:
    desired, path = request.desired, request.top_level
    for key in ("runtimes", "features"):
        if data.get(key) is not None and not isinstance(data[key], Mapping):
            raise ConfigError(
                path, f'"{key}" is not an object', "dockerd would refuse it: fix the file"
            )
    for handler in desired.handlers:
        if handler.name == STOCK:
            raise ConfigError(
                path, f'dockerd keeps the name "{STOCK}" for its own handler',
                "choose another --runtime-name",
            )  # fmt: skip
        entry = table(data, "runtimes").get(handler.name)
        kind = str(table(data, "runtimes", handler.name).get("runtimeType") or "")
        if not starts_runc(kind):
            found = (
                f'the runtime "{handler.name}" has runtimeType {kind}, which is not a shim of runc'
            )
            raise sandbox_error(desired, handler.name, path, found)
        if isinstance(entry, Mapping) and entry.keys() <= {"path", "args", "runtimeArgs"}:
            yield Change(path=("runtimes", handler.name, "path"), value=handler.binary_path)
        else:
            yield Change(path=("runtimes", handler.name), value={"path": handler.binary_path})
    if desired.default is not None:
        yield Change(path=("default-runtime",), value=desired.default)
    if desired.enable_cdi:
        yield Change(path=("features", "cdi"), value=True)
