"""A host with an engine in memory, as `doctor` sees it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from tests.faults.node_host import FaultHost
from tests.faults.steps import Steps
from toolkit.node import Node
from toolkit.report.doctor import Finding, examine

ALL = (1 << 41) - 1
"""Every capability of Linux 6."""


def node_of(host: FaultHost, *more: str, steps: Steps | None = None) -> Node:
    """Return the node with a /proc of the tests' own."""
    proc = host.directory / "proc"
    if not proc.exists():
        give_proc(proc, root=host.root)
    node = host.node(steps, *more)
    return replace(node, root=replace(node.root, proc=str(proc)))


def give_proc(
    proc: Path, *, root: Path, capabilities: int = ALL, files: Mapping[str, str] | None = None
) -> None:
    """Lay out what the checks read of /proc, with the host's first process in sight."""
    (proc / "1").mkdir(parents=True)
    (proc / "1/root").symlink_to(root)
    texts = {
        "self/status": f"Name:\tx\nCapEff:\t{capabilities:016x}\n",
        "self/mountinfo": "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n",
        "1/mountinfo": "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n",
        "filesystems": "nodev\tproc\n\text4\n",
        "locks": "",
        **(files or {}),
    }
    for name, text in texts.items():
        path = proc / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def found(node: Node, check: str) -> list[Finding]:
    """Return what one check says."""
    return [each for each in examine(node) if each.check == check]


def only(node: Node, check: str) -> Finding:
    """Return the one thing that a check says."""
    (finding,) = found(node, check)
    return finding
