"""Our handlers: the low-level runtime from which they inherit, their tables, a file's changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from runtime_configs.adapter import ConfigRequest
from runtime_configs.containerd import schema
from runtime_configs.containerd.merged import Merged
from runtime_configs.containerd.schema import RUNC, built_in_runc
from runtime_configs.containerd.shim import (
    OLD_KEYS,
    has_runc_shim,
    is_low_level,
    is_nvidia,
    own_program,
    shim_of,
)
from runtime_configs.draft import Draft
from runtime_configs.formats.documents import Change
from runtime_configs.formats.values import MISSING, REMOVE, KeyPath, deep_merge, lookup, table
from runtime_configs.model import RuntimeHandler

LEGACY_DEFAULT = "default"
"""The name under which 1.x serves a ``default_runtime`` table."""


class Base(Struct, frozen=True, kw_only=True):
    """The low-level runtime from which our handlers inherit their options."""

    name: str
    table: Mapping[str, object]


def default_of(merged: Merged, request: ConfigRequest) -> str:
    """Return the default handler's name from the files, else from the engine's report.

    A report from before our setup comes first: ours is not derived from a handler that others add
    while ours is the default.
    """
    if merged.legacy_default:
        return LEGACY_DEFAULT
    effective = None if request.effective is None else request.effective.default
    return merged.default or request.previous_default or effective or RUNC


def bases(merged: Merged, request: ConfigRequest) -> Iterator[Base]:
    """Yield the runtimes from which our handlers may be derived, the likeliest first.

    First the default handler, if it is a plain low-level runtime. If it is ours, NVIDIA's or one
    for virtual machines: runc, crun, any other, and last an NVIDIA default's own table. Nothing is
    inherited from the built-in runc, written out or not.
    """
    handlers = dict(merged.handlers)
    if merged.legacy_default:
        handlers[LEGACY_DEFAULT] = merged.legacy_default
    default = default_of(merged, request)
    ours = {each.name for each in request.desired.handlers}
    reported = () if request.effective is None else request.effective.handlers
    if default not in handlers and default not in ours and default in (RUNC, *reported):
        yield Base(name=default, table=_reported(default, request))
    for name in dict.fromkeys([default, RUNC, "crun", *handlers]):
        handler = None if name in ours else handlers.get(name)
        if handler is not None and is_low_level(handler, request):
            spelled_out = handler == built_in_runc(request.version)
            yield Base(name=name, table={} if spelled_out else handler)
    own = handlers.get(default, {})
    if is_nvidia(own, request) and has_runc_shim(own):
        yield Base(name=default, table=own)
    yield Base(name=RUNC, table={})


def _reported(name: str, request: ConfigRequest) -> Mapping[str, object]:
    """Return the engine's report of a handler that no file names, without neutral defaults."""
    effective = request.effective
    handler = None if effective is None else effective.handlers.get(name)
    if handler is None or is_nvidia(handler.table, request):
        return {}
    options = {key: value for key, value in table(handler.table, "options").items() if value}
    found: dict[str, object] = {"options": options} if options else {}
    if handler.runtime_type:
        found["runtime_type"] = handler.runtime_type
    return found if is_low_level(found, request) else {}


def wanted_table(
    handler: RuntimeHandler, base: Base, request: ConfigRequest, config_version: int
) -> dict[str, object]:
    """Return one handler's table for a file of this config version."""
    desired = request.desired
    options = {
        key: value
        for key, value in table(base.table, "options").items()
        if ("options", key) not in OLD_KEYS
    }
    options["BinaryName"] = handler.binary_path
    if config_version <= 1:
        options["Runtime"] = handler.binary_path
    ordered: dict[str, object] = {
        **shim_of(base.table, request),
        **{
            key: value
            for key, value in base.table.items()
            if (key,) not in OLD_KEYS and key not in ("options", "runtime_type", "runtime_path")
        },
    }
    if desired.container_annotations:
        inherited = ordered.get("container_annotations")
        listed = inherited if isinstance(inherited, list) else []
        ordered["container_annotations"] = list(
            dict.fromkeys([*desired.container_annotations, *listed])
        )
    ordered["options"] = options
    return deep_merge(ordered, desired.override)


def wanted_tables(
    result: Draft,
    merged: Merged,
    request: ConfigRequest,
    config_version: int,
    present: Mapping[str, object] | None = None,
) -> dict[str, dict[str, object]]:
    """Return each handler's table, with a note of its base; ``present`` are the existing tables.

    Of several possible bases it is the one that explains those tables. So our own result, in which
    the default is ours, is not derived again from another runtime.
    """
    results = [
        (
            base,
            {
                each.name: wanted_table(each, base, request, config_version)
                | own_program(merged.handlers.get(each.name, {}))
                for each in request.desired.handlers
            },
        )
        for base in bases(merged, request)
    ]
    there = merged.handlers if present is None else present
    base, tables = results[0]
    if base.name != default_of(merged, request) or is_nvidia(base.table, request):
        explained = (
            each
            for each in results
            if all(contains(there.get(name, {}), found) for name, found in each[1].items())
        )
        base, tables = next(explained, results[0])
    if tables:
        result.note(f"the handlers take their options from {base.name}")
    return tables


def contains(present: object, wanted: object) -> bool:
    """Return whether a value contains all that is desired; more keys are ignored."""
    if isinstance(wanted, Mapping):
        return isinstance(present, Mapping) and all(
            key in present and contains(present[key], value) for key, value in wanted.items()
        )
    return type(present) is type(wanted) and present == wanted


def changes_to(
    document: Mapping[str, object], key: KeyPath, wanted: Mapping[str, object]
) -> Iterator[Change]:
    """Yield the changes that give a table all its desired keys; other keys stay."""
    present = lookup(document, key)
    if not isinstance(present, Mapping):
        yield Change(path=key, value=wanted)
        return
    for name, value in wanted.items():
        if isinstance(value, Mapping):
            yield from changes_to(document, (*key, name), value)
        else:
            yield Change(path=(*key, name), value=value)


def changes_of(
    document: Mapping[str, object],
    request: ConfigRequest,
    tables: Mapping[str, Mapping[str, object]],
    config_version: int,
    *,
    default: str | None,
) -> Iterator[Change]:
    """Yield the changes of a document: the default's name, the CDI switch, the handlers."""
    lacks_cdi = request.version is not None and request.version.numbers < schema.CDI_SINCE
    if request.desired.enable_cdi and not lacks_cdi:
        yield Change(path=schema.cri(config_version, "enable_cdi"), value=True)
    if default is not None:
        yield Change(path=schema.default_name(config_version), value=default)
    for name, wanted in tables.items():
        place = (*schema.runtimes(config_version), name)
        yield from changes_to(document, place, wanted)
        for key in OLD_KEYS:
            if lookup(document, (*place, *key)) is not MISSING and lookup(wanted, key) is MISSING:
                yield Change(path=(*place, *key), value=REMOVE)
