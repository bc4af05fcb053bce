"""Start a pod sandbox with a handler, and find out which runtime the engine executed.

A sandbox needs no image except the engine's own and, in the host's network, no CNI. Loads grpc:
import it only when needed.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from toolkit.engine.cri.client import CriClient
from toolkit.engine.facts import HandlerRun
from toolkit.engine.handler_runs import REMOVAL_SECONDS
from toolkit.engine.rpc import Connection, RpcError
from toolkit.host.clock import Clock, UninterruptedClock

LABEL = ("nvidia-toolkit.installer", "verify")
"""Marks our sandboxes."""
NAMESPACE = "nvidia-toolkit-verify"
_POLL = 0.1

BinaryOf = Callable[[Connection, str], str | None]
"""Returns the runtime that was executed for a sandbox, by its ID; None if not known."""


def start(
    access: str,
    handler: str,
    cgroup_parent: str,
    *,
    binary_of: BinaryOf,
    clock: Clock,
    deadline: float,
) -> HandlerRun:
    """Start a sandbox with a handler, empty for the default one; it stays until ``sweep``.

    Raises whatever ``clock.check`` raises.
    """
    try:
        with Connection(access, deadline, clock.check) as connection:
            sandbox = CriClient(connection).run_sandbox(
                handler,
                name=f"verify-{handler or 'default'}",
                namespace=NAMESPACE,
                uid=str(uuid.uuid4()),
                label=LABEL,
                cgroup_parent=cgroup_parent,
            )
            return HandlerRun(handler=handler, binary=binary_of(connection, sandbox))
    except RpcError as error:
        return HandlerRun(handler=handler, failure=error.message)


def sweep(access: str, settling: float) -> None:
    """Remove all our sandboxes, including those that an engine lists within ``settling`` seconds.

    Raises RpcError if one cannot be removed: the next run tries again.
    """
    clock = UninterruptedClock()
    settled = clock.now() + settling
    with Connection(access, settled + REMOVAL_SECONDS) as connection:
        client = CriClient(connection)
        while True:
            found = client.sandboxes(LABEL)
            for sandbox in found:
                client.remove_sandbox(sandbox.id)
            if not found:
                if clock.now() >= settled:
                    return
                clock.sleep(_POLL)
