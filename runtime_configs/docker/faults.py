"""dockerd's keys in ``daemon.json``, and faults that ``--validate`` accepts and its start does not.

Each rule was tried on 20.10, 26.1 and 28.5 (``configureRuntimes`` and ``setupRuntimes`` in moby's
``daemon/runtime_unix.go``; tests/engine/test_dry_run_docker.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from runtime_configs.adapter import ConfigRequest, Fault
from runtime_configs.docker.arguments import flags
from runtime_configs.formats import key_case
from runtime_configs.formats.documents import load
from runtime_configs.formats.lines import line_of
from runtime_configs.formats.values import KeyPath, table, text_at
from runtime_configs.model import Format
from runtime_configs.overlay import Overlay
from runtime_configs.shims import OLD_LINUX, RUNC_V2

STOCK: Final = "runc"
BUILT_IN: Final = (STOCK, RUNC_V2, OLD_LINUX)
"""Names that dockerd always knows; only the first must not be redefined."""
SHIMS_SINCE: Final = (23, 0, 0)
"""The first version in which a runtime may be a shim, and each entry is checked."""
HANDLER: Final = key_case.Keys(own=frozenset({"path", "runtimeArgs", "runtimeType", "options"}))
"""Matched in any case; the last one in the file counts (``encoding/json``; tried with 20.10 to 28).

dockerd compares the keys above them itself, and rejects another spelling.
"""
KEYS: Final = key_case.Keys(below={"runtimes": key_case.Keys(each=HANDLER)})
_SHIM = re.compile(r"io\.containerd\.[\w-]+\.v\d+")


def faults(request: ConfigRequest, edited: Overlay) -> Iterator[Fault]:
    """Yield what dockerd rejects. Raises ConfigError for a file that does not parse."""
    path = request.top_level
    content = edited.read(path)
    if content is None:
        return
    data = key_case.read(load(content, Format.JSON, path=path), KEYS)
    present = edited.present.read(path) or content
    for where, message in _refused(data, request):
        yield Fault(path=path, line=line_of(present, where, Format.JSON), message=message)


def _refused(data: Mapping[str, object], request: ConfigRequest) -> Iterator[tuple[KeyPath, str]]:
    runtimes = table(data, "runtimes")
    if STOCK in runtimes:
        yield ("runtimes", STOCK), f'dockerd keeps the runtime name "{STOCK}" for its own'
    checked = request.version is not None and request.version.numbers >= SHIMS_SINCE
    for name, entry in runtimes.items() if checked else ():
        if isinstance(entry, Mapping) and (why := _wrong(entry)) is not None:
            yield ("runtimes", name), f'runtime "{name}": {why}'
    default = text_at(data, "default-runtime")
    if not default or default in (*runtimes, *BUILT_IN):
        return
    shim = checked and (default.startswith("/") or _SHIM.fullmatch(default) is not None)
    if not shim and "--add-runtime" not in flags(request.engine_arguments):
        yield ("default-runtime",), f'default-runtime is "{default}", which is not a runtime'


def _wrong(entry: Mapping[str, object]) -> str | None:
    path, runtime_type = entry.get("path"), entry.get("runtimeType")
    if path and runtime_type:
        return "path and runtimeType exclude each other"
    if not path and not runtime_type:
        return "it has neither path nor runtimeType"
    if path and entry.get("options"):
        return "options are for a runtimeType, not for a path"
    if runtime_type and entry.get("runtimeArgs"):
        return "runtimeArgs are for a path, not for a runtimeType"
    return None
