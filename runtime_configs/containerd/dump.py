"""Decode the engine's reports: its dump command's TOML, or the JSON of CRI's verbose status."""

from __future__ import annotations

import json
from collections.abc import Mapping

from runtime_configs.containerd import keys, schema
from runtime_configs.containerd.handlers import LEGACY_DEFAULT
from runtime_configs.containerd.merged import disabled_entry
from runtime_configs.containerd.schema import Era
from runtime_configs.containerd.shim import binary_of, flaw_of
from runtime_configs.formats import key_case
from runtime_configs.formats.documents import load
from runtime_configs.formats.values import table, tables_of, text_at
from runtime_configs.model import ConfigError, EffectiveConfig, Format, ServedHandler

SOURCE = "containerd"
"""The path in error messages, as a report is no file."""


def decode(dump: bytes) -> EffectiveConfig:
    """Decode a report of the engine. Raises ConfigError if it has neither form."""
    if dump.lstrip()[:1] == b"{":
        return _from_status(dump)
    raw = load(dump, Format.TOML, path=SOURCE)
    number = raw.get("version")
    version = number if isinstance(number, int) else 1
    era = Era.REPLACES if version <= schema.VERSION_2 else Era.MERGES
    document = key_case.read(raw, keys.FILE, keys.matching(era))
    entry = disabled_entry(document)
    return _effective(
        raw,
        _section(document, version),
        era,
        disabled=None if entry is None else f'disabled_plugins has "{entry}"',
    )


def _section(raw: Mapping[str, object], version: int) -> Mapping[str, object]:
    """Return the CRI table; 1.x prints version 2 even for a file of version 1."""
    plugins = table(raw, "plugins")
    names = (schema.plugin(version), schema.PLUGIN_V3, schema.PLUGIN_V2, schema.PLUGIN_V1)
    found = (table(plugins, name) for name in names)
    return next((each for each in found if key_case.any_case("containerd", each)), {})


def _from_status(dump: bytes) -> EffectiveConfig:
    try:
        raw = json.loads(dump)
    except ValueError as error:
        raise ConfigError(SOURCE, f"its status can't be decoded: {error}") from error
    if isinstance(raw, dict) and isinstance(raw.get("config"), str) and "containerd" not in raw:
        return _from_status(raw["config"].encode())
    if isinstance(raw, dict) and isinstance(raw.get("config"), dict):
        raw = raw["config"]
    containerd = table(raw, "containerd")
    runtimes = tables_of(containerd, ("runtimes",))
    implicit = _in_toml(table(containerd, "defaultRuntime"))
    section = {
        "containerd": {
            "runtimes": {name: _in_toml(each) for name, each in runtimes.items()},
            "default_runtime_name": containerd.get("defaultRuntimeName"),
            "default_runtime": implicit,
        }
    }
    old = any("runtimeEngine" in each for each in runtimes.values())
    dirs = raw.get("cdiSpecDirs") if raw.get("enableCDI") is True else None
    return _effective(
        raw,
        section,
        Era.REPLACES if old else Era.MERGES,
        disabled=None,
        # 1.6, which does not support CDI, has neither key.
        cdi_dirs=tuple(map(str, dirs)) if isinstance(dirs, list) else (),
    )


def _in_toml(handler: Mapping[str, object]) -> dict[str, object]:
    """Return a handler of the status with its keys as a file has them. 1.x alone has each."""
    names = {
        "runtimeType": "runtime_type",
        "runtimePath": "runtime_path",
        "runtimeEngine": "runtime_engine",
        "runtimeRoot": "runtime_root",
    }
    return {names.get(key, key): value for key, value in handler.items() if value is not None}


def _effective(
    raw: Mapping[str, object],
    section: Mapping[str, object],
    era: Era,
    *,
    disabled: str | None,
    cdi_dirs: tuple[str, ...] | None = None,
) -> EffectiveConfig:
    matching = keys.matching(era)
    containerd = table(key_case.read(section, keys.CRI, matching), "containerd")
    spelled = key_case.table_at(section, ("containerd", "runtimes"), keys.CRI, matching)
    handlers = {
        name: _served(name, value, table(spelled, name), era)
        for name, value in tables_of(containerd, ("runtimes",)).items()
    }
    default = text_at(containerd, "default_runtime_name")
    implicit = table(containerd, "default_runtime")
    if implicit.get("runtime_type"):
        handlers[LEGACY_DEFAULT] = _served(LEGACY_DEFAULT, implicit, implicit, era)
        default = _legacy_name(handlers)
    return EffectiveConfig(
        handlers=handlers,
        default=default or None,
        raw=raw,
        cdi_dirs=cdi_dirs,
        disabled=disabled,
    )


def _legacy_name(handlers: Mapping[str, ServedHandler]) -> str:
    """Return the name of the handler that is the same as the ``default_runtime`` table."""
    binary = handlers[LEGACY_DEFAULT].binary_path
    same = (name for name, each in handlers.items() if binary and each.binary_path == binary)
    return next((name for name in same if name != LEGACY_DEFAULT), LEGACY_DEFAULT)


def _served(
    name: str, value: Mapping[str, object], spelled: Mapping[str, object], era: Era
) -> ServedHandler:
    return ServedHandler(
        name=name,
        binary_path=binary_of(value, era),
        runtime_type=text_at(value, "runtime_type") or None,
        table=value,
        flaw=flaw_of(spelled, era),
    )
