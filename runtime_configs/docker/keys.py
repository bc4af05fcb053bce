"""dockerd's own keys in ``daemon.json``."""

from __future__ import annotations

from typing import Final

from runtime_configs.formats import key_case

HANDLER: Final = key_case.Keys(own=frozenset({"path", "runtimeArgs", "runtimeType", "options"}))
"""Matched in any case; the last one in the file counts (``encoding/json``; tried with 20.10 to 28).

dockerd compares the keys above them itself, and rejects another spelling.
"""
KEYS: Final = key_case.Keys(below={"runtimes": key_case.Keys(each=HANDLER)})
