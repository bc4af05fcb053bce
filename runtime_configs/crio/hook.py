"""The OCI hook that CRI-O's ``hook`` mode writes instead of handlers."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator

from runtime_configs.adapter import OVERRIDE_IGNORED, ConfigRequest
from runtime_configs.crio.load_order import RUNTIME
from runtime_configs.draft import Draft
from runtime_configs.formats.values import table
from runtime_configs.model import ConfigError, EditSet, Format, HostView, Role


def edits(request: ConfigRequest, path: str, view: HostView) -> EditSet:
    """Return the hook; no edit if it already exists. Raises ConfigError."""
    if request.hook_binary is None:
        raise ConfigError(path, "the hook's binary is not known", "install the payload first")
    result = Draft(view)
    result.put(path, _document(request.hook_binary), Role.HOOK, Format.OPAQUE)
    for each in _notes(request, path):
        result.note(each)
    return result.result()


def _document(binary: str) -> bytes:
    """Return a hook of version 1.0.0 that runs the toolkit's hook before every container starts.

    It runs for every container; the toolkit's hook ignores those that request no GPU.
    """
    hook = {
        "version": "1.0.0",
        "hook": {
            "path": binary,
            "args": [posixpath.basename(binary), "prestart"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        },
        "when": {"always": True, "commands": [".*"]},
        "stages": ["prestart"],
    }
    return json.dumps(hook, indent=2).encode() + b"\n"


def _notes(request: ConfigRequest, path: str) -> Iterator[str]:
    """Warn of options without effect, and if CRI-O reads its hooks from other directories."""
    if request.desired.override:
        yield OVERRIDE_IGNORED
    raw = request.effective.raw if request.effective is not None else {}
    directories = table(raw, *RUNTIME).get("hooks_dir")
    if isinstance(directories, list) and directories:
        known = [posixpath.normpath(str(directory)) for directory in directories]
        if posixpath.normpath(posixpath.dirname(path)) not in known:
            yield f"{path}: CRI-O reads hooks from {', '.join(known)} only; use --hooks-dir"
