"""What our handlers inherit from CRI-O's default one, and the keys that a dump misplaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from runtime_configs.adapter import ConfigRequest
from runtime_configs.crio.load_order import ConfigFile, default_of, runtimes_of
from runtime_configs.formats.values import table

NOT_INHERITED: Final = frozenset({
    "runtime_path", "runtime_type", "runtime_config_path", "platform_runtime_paths",
    "inherit_default_runtime", "runtime_pull_image", "stream_websockets",
})  # fmt: skip
"""Keys that a handler does not inherit from the default one.

(``RuntimeHandler`` in CRI-O's ``pkg/config``.) They are the binary's own keys, those that would
bypass our binary, and those only for virtual machines and conmon-rs. All others are the site's
choice of how its pods run, such as a seccomp profile.
"""
MISPLACED: Final = ("hostnetwork_disable_selinux", "disable_hostport_mapping", "timezone")
"""Keys of ``crio.runtime`` that ``crio config`` prints below the last handler's table.

Parsed as TOML they belong to that handler, whose name changes with ours (CRI-O 1.30 to 1.36,
``pkg/config/template.go``; tried with 1.36.3).
"""
LOW_LEVEL: Final = ("crun", "runc")
"""CRI-O's own handlers; the first is its default from 1.31 on."""


def inherited_fields(request: ConfigRequest, files: Sequence[ConfigFile]) -> Mapping[str, object]:
    """Return the fields of the handler that is the default without us."""
    tables: dict[str, Mapping[str, object]] = {}
    declared: str | None = None
    for file in files:
        tables |= runtimes_of(file.data)
        declared = default_of(file.data) or declared
    effective = request.effective
    if effective is not None:
        tables |= {name: served.table for name, served in effective.handlers.items()}
    in_force = None if effective is None else effective.default
    names = (declared, request.previous_default, in_force, *LOW_LEVEL)
    for name in names:
        table = tables.get(name) if name else None
        if table is None or request.is_ours(table.get("runtime_path")):
            continue
        if table.get("runtime_type", "") in ("", "oci"):
            return {key: value for key, value in table.items() if _is_inherited(key, value)}
    return {}


def _is_inherited(key: str, value: object) -> bool:
    """Return whether a field is the site's choice of how pods of the default handler run."""
    return bool(value) and key not in NOT_INHERITED and key not in MISPLACED


def corrected(raw: Mapping[str, object]) -> Mapping[str, object]:
    """Return a dump with the misplaced keys where they belong."""
    crio = table(raw, "crio")
    runtime = dict(table(crio, "runtime"))
    for kind in ("runtimes", "workloads"):
        tables: dict[str, object] = {}
        for name, each in table(runtime, kind).items():
            if not isinstance(each, Mapping):
                tables[name] = each
                continue
            tables[name] = {key: each[key] for key in each if key not in MISPLACED}
            runtime |= {key: each[key] for key in each if key in MISPLACED}
        if tables:
            runtime[kind] = tables
    return {**raw, "crio": {**crio, "runtime": runtime}} if runtime else raw
