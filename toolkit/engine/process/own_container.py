"""Find this process's own container by its ID, its pod's ID, or the process's PID.

If an engine restarts before it has recorded that our container runs, it treats it as failed, and
the kubelet ends it (reported since containerd 1.6.9). Loads grpc: import it only when needed.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable

from msgspec import Struct

from toolkit.engine.cri.client import CriClient, CriContainer
from toolkit.engine.rpc import Connection, RpcError
from toolkit.host.processes import ProcessTable, with_ancestors


class Traces(Struct, frozen=True, kw_only=True):
    """What this process knows about its container."""

    identifiers: frozenset[str]
    """IDs found in its cgroup, mounts and host name: the container's, its sandbox's."""
    pids: frozenset[int]
    """The process and its ancestors."""


def traces(table: ProcessTable) -> Traces:
    """Collect the traces of this process's container."""
    texts = [_text(f"/proc/self/{name}") for name in ("cgroup", "mountinfo")]
    texts.append(socket.gethostname())
    found = re.findall(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", "\n".join(texts))
    return Traces(identifiers=frozenset(found), pids=with_ancestors(os.getpid(), table))


def running(
    containers: tuple[CriContainer, ...], own: Traces, pid_of: Callable[[str], int | None]
) -> bool | None:
    """Return whether our container runs; None if it is not among these."""
    for container in containers:
        if container.identifier in own.identifiers:
            return container.running
    for container in containers:
        if container.running and pid_of(container.identifier) in own.pids:
            return True
    # A container that is not started has no PID yet, and a cgroup namespace may hide its ID; the
    # mounts of /etc/hostname and /etc/resolv.conf still name the pod's sandbox.
    pod = [each for each in containers if each.sandbox in own.identifiers]
    return all(each.started for each in pod) if pod else None


def is_running(access: str, table: ProcessTable, deadline: float) -> bool | None:
    """Ask over the CRI whether our container runs; None if that is not known."""
    with Connection(access, deadline) as connection:
        cri = CriClient(connection)

        def pid_of(identifier: str) -> int | None:
            try:
                return cri.container_pid(identifier)
            except RpcError:  # removed meanwhile
                return None

        try:
            return running(cri.containers(), traces(table), pid_of)
        except RpcError:
            return None


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
