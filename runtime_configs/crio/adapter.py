"""CRI-O's drop-in with our handlers, or its OCI hook."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import Final

from runtime_configs.adapter import ConfigRequest, DryRun, Fault
from runtime_configs.crio import hook
from runtime_configs.crio.inheritance import corrected, inherited_fields
from runtime_configs.crio.load_order import (
    DEFAULT,
    HANDLERS,
    KEYS,
    RUNTIME,
    ConfigFile,
    default_of,
    read,
    read_all,
    runtimes_of,
)
from runtime_configs.draft import Draft
from runtime_configs.formats.comparison import CHANGED, NOT_IN_FORCE, common, differing
from runtime_configs.formats.documents import Change
from runtime_configs.formats.lines import line_of
from runtime_configs.formats.values import KeyPath, lookup, table, text_at
from runtime_configs.glob import escaped
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
from runtime_configs.shims import sandbox_error

TYPES: Final = ("", "oci", "vm", "pod")
VIRTUAL_MACHINE: Final = "vm"
"""The ``runtime_type`` whose binary is its own shim (``RuntimeTypeVM`` in ``pkg/config``)."""
CDI_DIRS: Final = ("/etc/cdi", "/var/run/cdi")
"""CRI-O's default directories of CDI specs (``DefaultConfig`` in ``pkg/config``)."""
NAMED: tuple[KeyPath, ...] = (HANDLERS, (*RUNTIME, "workloads"))
"""Tables with user-chosen keys: a key missing on either side is a difference."""


class CrioAdapter(OneTableAdapter):
    """Writes a drop-in: CRI-O merges its handlers by name.

    ``crio config`` validates what it prints, so no trial start would tell more.
    """

    name = EngineName.CRIO
    format = Format.TOML
    keys = KEYS
    handlers = HANDLERS
    default = DEFAULT
    needed = frozenset({"runtime_path"})

    def edits(self, request: ConfigRequest, view: HostView) -> EditSet:
        """Return the drop-in with the handlers, or the hook; none if it already exists."""
        if not request.desired.handlers:
            return _cdi_edits(request, view)
        if request.crio_hook_path is not None:
            return hook.edits(request, request.crio_hook_path, view)
        path = request.drop_in
        if path is None:
            raise ConfigError(request.top_level, "CRI-O needs a drop-in", "use --drop-in-config")
        files = read_all(request.top_level, path, Overlay(view, {path: view.read(path) or b""}))
        place = [file.path for file in files].index(path)
        _check_later(request, files[place + 1 :])
        _refuse_sandbox(request, files)
        others = [file for file in files if file.path != path]
        inherited = inherited_fields(request, others)
        result = self.draft(request, view)
        result.apply(path, _changes(request, inherited), Role.DROP_IN)
        return result.result()

    def effective(self, dump: bytes) -> EffectiveConfig:
        """Decode the TOML of ``crio status config`` or ``crio config``."""
        raw = corrected(read(dump, "crio config"))
        default = default_of(raw)
        handlers = {
            name: ServedHandler.read(name, table, binary="runtime_path", kind="runtime_type")
            for name, table in runtimes_of(raw).items()
        }
        dirs = table(raw, *RUNTIME).get("cdi_spec_dirs")
        known = tuple(map(str, dirs)) if isinstance(dirs, list) else None
        return EffectiveConfig(handlers=handlers, default=default, raw=raw, cdi_dirs=known)

    def unintended(
        self, before: EffectiveConfig, after: EffectiveConfig, request: ConfigRequest
    ) -> tuple[str, ...]:
        """Describe changed settings other than our handlers and the default."""
        meant: list[KeyPath] = [(*HANDLERS, handler.name) for handler in request.desired.handlers]
        if request.desired.default is not None:
            meant.append(DEFAULT)
            meant += _following(before)
        if not request.desired.handlers:
            meant.append((*RUNTIME, "cdi_spec_dirs"))
        if not before.handlers:
            # CRI-O prints its built-in handlers once there are others.
            meant += [(*HANDLERS, name) for name in after.handlers]
        return differing(before.raw, after.raw, meant, CHANGED)

    def pending(
        self, live: EffectiveConfig, files: EffectiveConfig, request: ConfigRequest
    ) -> tuple[str, ...]:
        """Describe each setting of the files that is not in force, one line each.

        ``live`` is the running CRI-O's report, with every setting. ``files`` is the output of
        ``crio config``: it prints settings with default values as comments, and an empty text for a
        handler's keys that CRI-O fills in at its start (``pkg/config/template.go``; tried with
        1.36.3). So a setting that was removed from the files is not found.
        """
        ours = {each.name for each in request.desired.handlers}
        meant = [(*HANDLERS, name) for name in ours]
        if live.default in ours:
            meant += [DEFAULT, *_following(live)]
        if not files.handlers or not live.handlers:
            meant += [HANDLERS]
        from_files = _set_values(files.raw, ())
        in_force = common(live.raw, from_files, NAMED.__contains__)
        return differing(in_force, from_files, meant, NOT_IN_FORCE)

    def dry_run(self, request: ConfigRequest, view: HostView, directory: str) -> DryRun | None:
        """Return copies of all files for ``crio config``; None for a hook, which is not config."""
        if request.drop_in is None or request.crio_hook_path is not None:
            return None
        inside, drop_ins = posixpath.dirname(request.drop_in), f"{directory}/crio.conf.d"
        copies, top = [], ""
        for path, content, role in self.files(request, view):
            name = f"{drop_ins}/{posixpath.relpath(path, inside)}"
            if role is Role.TOP_LEVEL:
                name = top = f"{directory}/crio.conf"
            copies.append((name, content))
        return DryRun(
            files=tuple(copies),
            arguments=("--config", top, "--config-dir", drop_ins, "config"),
        )

    def faults(self, request: ConfigRequest, edited: Overlay) -> tuple[Fault, ...]:
        """Return what stops CRI-O at its start but passes ``crio config``. Raises ConfigError.

        Only the default handler matters: CRI-O drops another faulty one with a warning
        (``ValidateRuntimes`` and ``RuntimeHandler.Validate`` in CRI-O's ``pkg/config/config.go``).
        """
        if request.drop_in is None or request.crio_hook_path is not None:
            return ()
        files = read_all(request.top_level, request.drop_in, edited)
        defaults = [name for each in files if (name := default_of(each.data)) is not None]
        owners = [each for each in files if defaults and defaults[-1] in runtimes_of(each.data)]
        if not owners:
            return ()
        name, owner = defaults[-1], owners[-1]
        return tuple(
            Fault(
                path=owner.path,
                line=line_of(owner.content, (*HANDLERS, name, key), Format.TOML),
                message=f"the default handler {name} {message}",
            )
            for key, message in _wrong(runtimes_of(owner.data)[name], request, edited)
        )

    def files(self, request: ConfigRequest, view: HostView) -> Iterator[tuple[str, bytes, Role]]:
        """Yield the top-level file and the drop-ins; none for a hook. Raises ConfigError."""
        if request.drop_in is None or request.crio_hook_path is not None:
            return
        for each in read_all(request.top_level, request.drop_in, view):
            top_level = each.path == request.top_level
            yield each.path, each.content, Role.TOP_LEVEL if top_level else Role.DROP_IN


def _cdi_edits(request: ConfigRequest, view: HostView) -> EditSet:
    """Return the drop-in that enables CDI, if a file disables it."""
    path = request.drop_in
    if path is None or not request.desired.enable_cdi:
        return EditSet()
    key = (*RUNTIME, "cdi_spec_dirs")
    others = [each for each in read_all(request.top_level, path, view) if each.path != path]
    values = [lookup(each.data, key) for each in others]
    if next((each for each in reversed(values) if isinstance(each, list)), CDI_DIRS):
        return EditSet()
    result = Draft(view, KEYS)
    result.apply(path, [Change(path=key, value=[*CDI_DIRS])], Role.DROP_IN)
    return result.result()


def _changes(request: ConfigRequest, inherited: Mapping[str, object]) -> Iterator[Change]:
    desired = request.desired
    if desired.default is not None:
        yield Change(path=DEFAULT, value=desired.default)
    for handler in desired.handlers:
        table = {"runtime_path": handler.binary_path, "runtime_type": "oci", **inherited}
        yield Change(path=(*HANDLERS, handler.name), value=table)


def _refuse_sandbox(request: ConfigRequest, files: list[ConfigFile]) -> None:
    """Reject a handler with one of our names that is for virtual machines. Raises ConfigError.

    A handler may inherit its type from the default one.
    """
    tables: dict[str, Mapping[str, object]] = {}
    paths: dict[str, str] = {}
    default = None
    for file in files:
        tables |= runtimes_of(file.data)
        paths |= dict.fromkeys(runtimes_of(file.data), file.path)
        default = default_of(file.data) or default
    for handler in request.desired.handlers:
        found = tables.get(handler.name, {})
        inherits = bool(found.get("inherit_default_runtime"))
        runtime_type = (tables.get(default or "", {}) if inherits else found).get("runtime_type")
        if runtime_type == VIRTUAL_MACHINE:
            taken = f" (that of the default runtime {default})" if inherits else ""
            found_there = f'the handler "{handler.name}" has runtime_type {runtime_type}{taken}'
            raise sandbox_error(request.desired, handler.name, paths[handler.name], found_there)


def _check_later(request: ConfigRequest, files: list[ConfigFile]) -> None:
    """Reject a file that CRI-O reads after ours and that would undo our change."""
    desired = request.desired
    for file in files:
        default = default_of(file.data)
        if desired.default is not None and default not in (None, desired.default):
            raise ConfigError(
                file.path,
                f'it is read after {request.drop_in} and makes "{default}" the default runtime',
                "remove that line, use --set-as-default=false, or name a later --drop-in-config",
            )
        for handler in desired.handlers:
            table = runtimes_of(file.data).get(handler.name)
            if table is not None and table.get("runtime_path") != handler.binary_path:
                raise ConfigError(
                    file.path,
                    f'it is read after {request.drop_in} and defines "{handler.name}" itself',
                    "remove that table, or name a later --drop-in-config",
                )


def _following(before: EffectiveConfig) -> Iterator[KeyPath]:
    """Yield the keys of handlers that inherit from the default handler."""
    for name, handler in before.handlers.items():
        if handler.table.get("inherit_default_runtime"):
            for key in ("runtime_path", "runtime_type", "runtime_root", "runtime_config_path"):
                yield (*HANDLERS, name, key)


def _set_values(files: Mapping[str, object], place: KeyPath) -> dict[str, object]:
    """Return the settings of the files without the handlers' empty texts."""
    inside = place[: len(NAMED[0])] in NAMED
    return {
        key: _set_values(table(files, key), (*place, key)) if isinstance(value, Mapping) else value
        for key, value in files.items()
        if value != "" or not inside
    }


def _wrong(
    handler: Mapping[str, object], request: ConfigRequest, view: HostView
) -> Iterator[tuple[str, str]]:
    """Yield each key of a handler with which CRI-O does not start, and why."""
    runtime_type, path = handler.get("runtime_type", ""), text_at(handler, "runtime_path")
    if runtime_type not in TYPES:
        yield "runtime_type", f'has the type "{runtime_type}", not "oci"'
    if path.startswith("/") and not request.is_ours(path) and not view.glob(escaped(path)):
        yield "runtime_path", f"needs {path}, which is not there"
