"""Faults with which CRI-O does not start although ``crio config`` accepts them.

Only the default handler matters: CRI-O drops another faulty one with a warning
(``ValidateRuntimes`` and ``RuntimeHandler.Validate`` in CRI-O's ``pkg/config/config.go``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from runtime_configs.adapter import ConfigRequest, Fault
from runtime_configs.crio.load_order import HANDLERS, default_of, read_all, runtimes_of
from runtime_configs.formats.lines import line_of
from runtime_configs.glob import escaped
from runtime_configs.model import Format, HostView

TYPES: Final = ("", "oci", "vm", "pod")


def faults(request: ConfigRequest, view: HostView) -> Iterator[Fault]:
    """Yield what prevents CRI-O's start. Raises ConfigError for a file that does not parse."""
    files = read_all(request.top_level, request.drop_in or "", view)
    named = [each for each in files if default_of(each.data) is not None]
    if not named:
        return
    name = default_of(named[-1].data) or ""
    owner = next((each for each in reversed(files) if name in runtimes_of(each.data)), None)
    if owner is None:
        return
    handler = runtimes_of(owner.data)[name]
    for key, message in _wrong(name, handler, request, view):
        line = line_of(owner.content, (*HANDLERS, name, key), Format.TOML)
        yield Fault(path=owner.path, line=line, message=message)


def _wrong(
    name: str, handler: Mapping[str, object], request: ConfigRequest, view: HostView
) -> Iterator[tuple[str, str]]:
    kind, path = handler.get("runtime_type", ""), handler.get("runtime_path")
    if kind not in TYPES:
        yield "runtime_type", f'the default handler {name} has the type "{kind}", not "oci"'
    absolute = isinstance(path, str) and path.startswith("/")
    if absolute and not request.is_ours(path) and not view.glob(escaped(str(path))):
        yield "runtime_path", f"the default handler {name} needs {path}, which is not there"
