"""Copies of the edited files for the engine's own binary to load."""

from __future__ import annotations

import posixpath

from runtime_configs.adapter import ConfigRequest, DryRun, Placement
from runtime_configs.containerd import keys, schema
from runtime_configs.containerd.imports import every_file, import_patterns
from runtime_configs.containerd.schema import Era
from runtime_configs.formats.documents import REMOVE, Change
from runtime_configs.formats.key_case import apply_spelled
from runtime_configs.model import Format, HostView


def dry_run(request: ConfigRequest, view: HostView, directory: str) -> DryRun | None:
    """Return copies of every file that would be loaded, in one flat directory.

    The top-level copy imports all others explicitly in their load order, so that relative and
    nested imports mean the same in another directory. Imports of missing files are left out, as
    ``missing_imports`` reports them. None for a template, which only the distribution can render.
    """
    if request.placement is Placement.TEMPLATE:
        return None
    era = schema.era_of(request)
    loaded = every_file(request, view)
    if not loaded:
        return DryRun(files=(), arguments=("config", "default"))
    names = [posixpath.join(directory, f"{index:03}.toml") for index in range(len(loaded))]
    files = []
    for name, each in zip(names, loaded, strict=True):
        content = view.read(each.path) or b""
        imports = names[1:] if name == names[0] else []
        if imports:
            content = _with_imports(content, each.path, imports, era)
        elif import_patterns(each.document, each.path):
            content = _with_imports(content, each.path, REMOVE, era)
        files.append((name, content))
    return DryRun(files=tuple(files), arguments=("--config", names[0], "config", "dump"))


def _with_imports(content: bytes, path: str, value: object, era: Era) -> bytes:
    change = Change(path=("imports",), value=value)
    matching = keys.matching(era)
    return apply_spelled(content, [change], Format.TOML, keys.ROOT, matching, path=path)
