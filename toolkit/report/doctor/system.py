"""Versions and the driver."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from toolkit.errors import PayloadError
from toolkit.node import Node
from toolkit.report.doctor.context import Context
from toolkit.report.doctor.findings import Finding, ok, refused, warning
from toolkit.version import VERSION


def versions(_: Context) -> Iterator[Finding]:
    """Report the versions of what runs here."""
    system = os.uname()
    yield ok("versions", f"installer {VERSION}, kernel {system.release} {system.machine}")


def adjusted_settings(context: Context) -> Iterator[Finding]:
    """Report flags and variables that are not used as given."""
    for each in context.node.settings.warnings:
        yield warning("settings", each)


def driver(context: Context) -> Iterator[Finding]:
    """Check for the kernel module, and for the driver's files that a CDI spec needs."""
    version = context.node.view.read("/proc/driver/nvidia/version")
    if version is None:
        version = own_proc(context.node, "driver/nvidia/version")
    try:
        context.node.installer.cdi.require_driver()
    except PayloadError as error:
        yield refused("driver", error)
    else:
        yield _module(version)


def _module(version: bytes | None) -> Finding:
    if version is not None:
        return ok("driver", version.decode(errors="replace").partition("\n")[0])
    return warning(
        "driver",
        "the NVIDIA kernel module is not loaded: containers run without GPUs",
        "install the driver; nothing has to be restarted here afterwards",
    )


def namespace(node: Node, kind: str, pid: int | str = "self") -> str | None:
    """Return the name of a process's namespace; None where it cannot be read."""
    try:
        return os.readlink(os.path.join(node.root.proc, str(pid), "ns", kind))
    except OSError:
        return None


def own_proc(node: Node, name: str) -> bytes | None:
    """Return a file of /proc; None where it cannot be read."""
    try:
        return Path(node.root.proc, name).read_bytes()
    except OSError:
        return None
