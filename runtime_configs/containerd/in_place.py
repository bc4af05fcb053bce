"""containerd 1.x and engines of unknown version: edit the effective file itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from runtime_configs.adapter import ConfigRequest, Placement
from runtime_configs.containerd import handlers, keys, schema
from runtime_configs.containerd.merged import Merged, read_merged
from runtime_configs.containerd.schema import Era
from runtime_configs.containerd.shim import has_runc_shim
from runtime_configs.draft import Draft
from runtime_configs.formats.documents import Change
from runtime_configs.formats.values import REMOVE
from runtime_configs.model import ConfigError, HostView, Role
from runtime_configs.shims import TAKES_SANDBOX

OLDEST_COMMON: Final = 2
"""The config version that 1.3 to 2.x all read in full, for a file without any key."""
RENDERED: Final = ("/run/", "/var/run/", "/usr/lib/", "/usr/share/", "/nix/store/", "/snap/")
"""Directories of files that a program rewrites."""


def draft(request: ConfigRequest, view: HostView) -> Draft:
    """Return the edit of the one file whose CRI table is effective.

    Raises ConfigError if that file may not be edited or the engine does not read its version.
    """
    found, top_level = read_merged(request, view), request.top_level
    version = _version(request, found)
    path = found.edited_file or top_level
    if path != top_level and path.startswith(RENDERED):
        raise ConfigError(
            path,
            f"its CRI table replaces that of {top_level} and it may not be edited",
            "remove its CRI table, or update to containerd 2.0, which merges tables",
        )
    result = Draft(view, keys.ROOT, keys.matching(found.era))
    if path != top_level:
        result.note(f"{path} is edited, as its CRI table counts and not that of {top_level}")
    tables = handlers.wanted_tables(result, found, request, version)
    template = request.placement is Placement.TEMPLATE
    role = Role.TEMPLATE if template else Role.TOP_LEVEL if path == top_level else Role.IMPORTED
    document, changes = result.document(path), []
    if not document and not request.use_legacy_config:
        # A file without any key would mean version 1.
        changes.append(Change(path=("version",), value=version))
    if tables and found.era is Era.REPLACES and not found.handlers and schema.RUNC not in tables:
        # 1.x drops its built-in handler as soon as a file names another one.
        built_in = schema.built_in_runc(request.version)
        changes.append(Change(path=(*schema.runtimes(version), schema.RUNC), value=built_in))
    changes += _keys(document, found, request, tables, version)
    result.apply(path, changes, role)
    return result


def _version(request: ConfigRequest, found: Merged) -> int:
    """Return the config version of the key paths to use."""
    engine = request.version
    if not any(each.document for each in found.files):
        if request.use_legacy_config:
            return 1
        return OLDEST_COMMON if found.era is Era.REPLACES else 3
    if engine is not None and found.era is Era.REPLACES and found.version > OLDEST_COMMON:
        raise ConfigError(
            request.top_level,
            f"config version {found.version} is newer than containerd "
            f"{engine.major}.{engine.minor} reads (up to {OLDEST_COMMON})",
            "write it in version 2 or update containerd",
        )
    return found.version


def _keys(
    document: Mapping[str, object],
    found: Merged,
    request: ConfigRequest,
    tables: Mapping[str, Mapping[str, object]],
    version: int,
) -> Iterator[Change]:
    """Yield the handlers and the default, as its name or, before 1.3, as its own table."""
    default = request.desired.default
    legacy = request.use_legacy_config and version == 1
    name = None if legacy else default
    yield from handlers.changes_of(document, request, tables, version, default=name)
    if default is None:
        return
    path = schema.cri(version, "containerd", "default_runtime")
    if legacy:
        if not has_runc_shim(found.legacy_default):
            raise ConfigError(
                found.edited_file or request.top_level,
                f"default_runtime has runtime_type {found.legacy_default['runtime_type']}, which "
                f"is not a shim of runc: {TAKES_SANDBOX}",
                "use --set-as-default=false",
            )
        kept = {"runtime_engine": "", "runtime_root": ""} | dict(tables[default])
        yield from handlers.changes_to(document, path, kept)
    elif old := found.legacy_default:
        yield Change(path=(*schema.runtimes(version), handlers.LEGACY_DEFAULT), value=dict(old))
        yield Change(path=path, value=REMOVE)
