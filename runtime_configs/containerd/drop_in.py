"""containerd 2.0 and later: a drop-in with our tables, and the import that loads it."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Final

from runtime_configs import glob
from runtime_configs.adapter import ConfigRequest, Placement
from runtime_configs.containerd import handlers, keys, schema
from runtime_configs.containerd.imports import (
    LoadedFile,
    declared_version,
    every_file,
    import_patterns,
)
from runtime_configs.containerd.merged import Merged, read_merged
from runtime_configs.containerd.schema import NEWEST, Era
from runtime_configs.containerd.shim import refuse_sandbox
from runtime_configs.draft import Draft
from runtime_configs.formats.documents import Change
from runtime_configs.formats.values import tables_of
from runtime_configs.model import ConfigError, HostView, Role
from runtime_configs.overlay import Overlay

HEADER: Final = b"# Written by nvidia-toolkit, which takes it away again when it stops.\n"


def draft(request: ConfigRequest, view: HostView, drop_in: str) -> Draft:
    """Return the drop-in's new content and, if needed, the import in the top-level file.

    Raises ConfigError if the engine could not load the result.
    """
    found = read_merged(request, Overlay(view, {drop_in: None}))
    result = Draft(view, keys.ROOT, keys.matching(found.era))
    document = result.document(drop_in)
    version = _allowed(document, _version(found), drop_in, request.top_level)
    paths_version = found.new_version if found.era is Era.MERGES and found.files else version
    there = tables_of(document, schema.runtimes(paths_version))
    refuse_sandbox(there, request, drop_in)
    tables = handlers.wanted_tables(result, found, request, paths_version, there)
    if view.read(drop_in) is None:
        result.put(drop_in, HEADER, Role.DROP_IN)
    wanted = handlers.changes_of(
        document, request, tables, paths_version, default=request.desired.default
    )
    merged_with = {"plugins": {schema.plugin(paths_version): found.as_spelled}}
    changes = [Change(path=("version",), value=version), *wanted]
    result.apply(drop_in, changes, Role.DROP_IN, others=merged_with)
    if request.placement is Placement.PLAIN:
        _ensure_import(result, request, drop_in, found.files)
    return result


def _version(found: Merged) -> int:
    """Return the drop-in's config version: never above its root's, and without effect on others.

    2.0 to 2.2 read all files in the version of the last one, so ours repeats the version in force
    without it. 2.3 rejects a version above the first one that a file names.
    """
    if found.era is Era.MIGRATES:
        return next((each.version for each in found.files if each.version), NEWEST)
    return found.version if found.files else NEWEST


def _allowed(document: Mapping[str, object], version: int, drop_in: str, top_level: str) -> int:
    """Return the drop-in's config version; an existing file keeps a lower one."""
    own = declared_version(document, drop_in)
    if own > version:
        raise ConfigError(
            drop_in,
            f"its config version {own} is above version {version} of {top_level}",
            "remove it, or migrate the top-level file to that version",
        )
    return own or version


def _ensure_import(
    result: Draft, request: ConfigRequest, drop_in: str, others: Sequence[LoadedFile]
) -> None:
    """Make the top-level file import the drop-in, and no other file that it did not import."""
    if any(each.path == drop_in for each in every_file(request, result.view)):
        return
    top_level, changes = request.top_level, []
    if result.view.read(top_level) is None:
        changes.append(Change(path=("version",), value=NEWEST))
        result.note(f"{top_level} is created: without it the engine imports nothing")
    known = {each.path for each in others} | {top_level, drop_in}
    for pattern in import_candidates(drop_in):
        if known.issuperset(result.view.glob(pattern)):
            imports = [*import_patterns(result.document(top_level), top_level), pattern]
            changes.append(Change(path=("imports",), value=imports))
            result.apply(top_level, changes, Role.TOP_LEVEL)
            return
    raise ConfigError(
        drop_in,
        "every import that loads it would load other files of its directory too",
        "name another file with --drop-in-config",
    )


def import_candidates(drop_in: str) -> tuple[str, ...]:
    """Return patterns that match the drop-in, the widest first.

    Only patterns: with an import without ``*`` of a missing file the engine does not start.
    """
    directory, name = posixpath.split(glob.escaped(drop_in))
    stem, suffix = posixpath.splitext(name)
    names = (f"*{suffix}", f"{stem}*{suffix}", f"*{name}", f"{name}*")
    return tuple(posixpath.join(directory, each) for each in names)
