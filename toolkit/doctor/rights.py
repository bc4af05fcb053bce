"""Whether this container may do what a set-up does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from toolkit.doctor.findings import Finding, ok, problem
from toolkit.doctor.sight import Sight
from toolkit.doctor.system import own_proc
from toolkit.host.processes import has_root
from toolkit.node import Node

_CAP_SYS_ADMIN = 21


def privileges(sight: Sight) -> Iterator[Finding]:
    """Look at the user and the capabilities."""
    if os.geteuid() != 0:
        yield problem("privileges", "not root", "run the container privileged, as user 0")
    elif not _capable(sight.node.root.proc, _CAP_SYS_ADMIN):
        yield problem("privileges", "CAP_SYS_ADMIN is missing", "run the container privileged")
    else:
        yield ok("privileges", "root with CAP_SYS_ADMIN")


def host_processes(sight: Sight) -> Iterator[Finding]:
    """Look whether this PID namespace is the host's."""
    if _sees_host_processes(sight.node):
        yield ok("hostPID", "the host's processes can be seen")
    elif not sight.signals:
        yield ok("hostPID", "the host's processes can't be seen, and no engine is signalled")
    else:
        yield problem(
            "hostPID",
            "the host's processes can't be seen, so the engine can't be signalled",
            "set hostPID: true, or docker run --pid=host",
        )


def selinux(sight: Sight) -> Iterator[Finding]:
    """Look whether this container is confined."""
    enforcing = sight.node.view.read("/sys/fs/selinux/enforce")
    if enforcing is None:
        yield ok("SELinux", "not in use")
    elif enforcing.strip() == b"1":
        yield _confined(own_proc(sight.node, "self/attr/current") or b"")
    else:
        yield ok("SELinux", "permissive")


def _confined(label: bytes) -> Finding:
    text = label.rstrip(b"\0\n").decode(errors="replace")
    if ":container_t:" in text:
        return problem(
            "SELinux",
            f"enforcing, and this container runs confined as {text}: the host's files are denied",
            "run it privileged, or with seLinuxOptions type spc_t",
        )
    return ok("SELinux", f"enforcing, as {text or 'unknown'}; labels of replaced files are kept")


def _capable(proc: str, number: int) -> bool:
    for line in Path(proc, "self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def _sees_host_processes(node: Node) -> bool:
    """Tell whether this PID namespace is the host's: its PID 1 has the host root as its root."""
    found = has_root(node.root.proc, 1, node.root.root)
    # Without ptrace rights PID 1 can't be looked at; kthreadd exists in the first one only.
    return Path(node.root.proc, "2/comm").exists() if found is None else found
