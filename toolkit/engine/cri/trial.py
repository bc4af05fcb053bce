"""Start a pod sandbox briefly with a handler, and find out which runtime the engine executed.

A sandbox needs no image except the engine's own and, in the host's network, no CNI. It carries a
label, so whatever a failure, a signal or a kill leaves is removed by the next run at the latest.
Loads grpc: import it only when needed.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterable, Iterator

from msgspec.structs import replace

from toolkit.engine.cri.client import CriClient, SandboxSpec
from toolkit.engine.facts import Trial
from toolkit.engine.rpc import Connection, RpcError
from toolkit.host.clock import Clock

LABEL = ("nvidia-toolkit.installer", "verify")
"""Marks our sandboxes."""
NAMESPACE = "nvidia-toolkit-verify"
REMOVAL_SECONDS = 10.0
"""Seconds for the removal; a deadline that has passed does not shorten it."""
SETTLING_SECONDS = 1.0
"""Seconds for an engine to list a sandbox that it created although the call was aborted."""
_POLL = 0.1

BinaryOf = Callable[[Connection, str], str | None]
"""Returns the runtime that was executed for a sandbox, by its ID; None if not known."""


def run(
    access: str,
    requests: Iterable[tuple[str, str]],
    *,
    binary_of: BinaryOf,
    clock: Clock,
    deadline: float,
) -> Iterator[Trial]:
    """Start, inspect, stop and remove a sandbox for each handler, one after the other.

    ``requests`` are pairs of a handler (empty for the default one) and the cgroup parent of its
    sandbox. Raises RpcError if the remains of an earlier run cannot be removed, and whatever
    ``clock.check`` raises, after the removal.
    """
    sweep(access)
    for handler, parent in requests:
        clock.check()
        yield _trial(access, handler, parent, binary_of=binary_of, clock=clock, deadline=deadline)


def _trial(
    access: str,
    handler: str,
    cgroup_parent: str,
    *,
    binary_of: BinaryOf,
    clock: Clock,
    deadline: float,
) -> Trial:
    spec = SandboxSpec(
        name=f"verify-{handler or 'default'}",
        namespace=NAMESPACE,
        uid=str(uuid.uuid4()),
        label=LABEL,
        cgroup_parent=cgroup_parent,
    )
    try:
        with Connection(access, deadline, clock.check) as connection:
            sandbox = CriClient(connection).run_sandbox(spec, handler)
            trial = Trial(handler=handler, binary=binary_of(connection, sandbox))
    except RpcError as error:
        trial = Trial(handler=handler, failure=error.message)
    except BaseException:
        with contextlib.suppress(RpcError):
            sweep(access, SETTLING_SECONDS)
        raise
    try:
        sweep(access, SETTLING_SECONDS if trial.failure else 0.0)
    except RpcError as error:
        left = f"its sandbox could not be removed: {error.message}"
        return replace(trial, failure=f"{trial.failure}; {left}" if trial.failure else left)
    return trial


def sweep(access: str, settling: float = 0.0) -> None:
    """Remove all our sandboxes, including those that an engine lists within ``settling`` seconds.

    Raises RpcError if one cannot be removed: the next run tries again.
    """
    began = time.monotonic()
    with Connection(access, began + settling + REMOVAL_SECONDS) as connection:
        client = CriClient(connection)
        while True:
            found = client.labelled_sandboxes(LABEL)
            for sandbox in found:
                client.remove_sandbox(sandbox)
            if not found:
                if time.monotonic() >= began + settling:
                    return
                time.sleep(_POLL)
