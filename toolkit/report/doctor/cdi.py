"""CDI specs on the node, ours and others': every file that they name has to exist."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator

from toolkit.errors import HostPathError
from toolkit.node import Node
from toolkit.payload.cdi_spec import CdiSpec, read_spec
from toolkit.report.doctor.context import Context
from toolkit.report.doctor.findings import Finding, ok, unknown, warning

_DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
"""Where engines look, lowest priority first (pkg/cdi/spec-dirs.go of the CDI library)."""


def specs(context: Context) -> Iterator[Finding]:
    """Report specs that name missing files, and devices that have two specs."""
    node = context.node
    known: dict[str, str] = {}
    for path in _paths(node):
        content = node.view.read(path)
        if content is None:
            continue
        try:
            spec = read_spec(content)
        except ValueError as error:
            yield unknown("CDI", f"{path} can't be read: {error}")
            continue
        yield _compared(node, path, spec)
        for device in spec.devices:
            if device in known:
                yield _duplicate(device, known[device], path)
            known[device] = path


def _paths(node: Node) -> Iterator[str]:
    own = node.installer.cdi.path()
    directories = {node.root.resolve(each): each for each in _DIRECTORIES}
    if own is not None:
        directories.setdefault(node.root.resolve(posixpath.dirname(own)), posixpath.dirname(own))
    for each in directories.values():
        yield from node.view.glob(f"{each}/*.json")
        yield from node.view.glob(f"{each}/*.yaml")


def _compared(node: Node, path: str, spec: CdiSpec) -> Finding:
    missing = [each for each in spec.paths if not _is_there(node, each)]
    if not missing:
        return ok("CDI", f"{path}: all {len(spec.paths)} files and devices that it names are there")
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    fix = f"make it again for the driver that is there (nvidia-ctk cdi generate), or remove {path}"
    if path == node.installer.cdi.path():
        fix = "start the installer, which makes it again and follows the driver"
    return warning(
        "CDI", f"{path} names {missing[0]}{more}, not on this node: its containers fail", fix
    )


def _is_there(node: Node, path: str) -> bool:
    try:
        return os.path.exists(node.root.access(path))
    except HostPathError:
        return False


def _duplicate(device: str, first: str, second: str) -> Finding:
    """Report devices with two specs: engines use the later directory's, and refuse two in one."""
    same = posixpath.dirname(first) == posixpath.dirname(second)
    result = "engines give out neither" if same else f"engines take that of {second}"
    return warning(
        "CDI", f"{first} and {second} both have {device}: {result}", "remove one of them"
    )
