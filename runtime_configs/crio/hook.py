"""The OCI hook that CRI-O's ``hook`` mode writes instead of handlers."""

from __future__ import annotations

import json
import posixpath


def document(binary: str) -> bytes:
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
