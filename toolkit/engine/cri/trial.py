"""Start a pod sandbox through a handler for a moment, and see what the engine executed for it.

A sandbox needs no image but the engine's own and, in the host's network, no CNI. Nothing of it
stays: it bears a label, and what a failure, a signal or a kill left is removed, by the next run at
the latest. Loads grpc: imported when needed.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterable, Iterator

from msgspec.structs import replace

from toolkit.engine.answers import Trial
from toolkit.engine.cri.client import CriClient, SandboxWish
from toolkit.engine.rpc import Connection, RpcError
from toolkit.host.clock import Clock

LABEL = ("nvidia-toolkit.installer", "verify")
"""By which a sandbox of ours is known again."""
NAMESPACE = "nvidia-toolkit-verify"
REMOVAL_SECONDS = 10.0
"""For the removal: a deadline that has passed does not shorten it."""
SETTLING_SECONDS = 1.0
"""How long an engine whose call was cut off may take to list what it made all the same."""
_POLL = 0.1

BinaryOf = Callable[[Connection, str], str | None]
"""Returns what was executed for a sandbox, by its id; None: not known."""


def run(
    access: str,
    wishes: Iterable[tuple[str, str]],
    *,
    binary_of: BinaryOf,
    clock: Clock,
    deadline: float,
) -> Iterator[Trial]:
    """Start, look at, stop and remove a sandbox for each handler, one after the other.

    ``wishes`` are pairs of the handler, empty for the default one, and the cgroup that its sandbox
    goes below. Raises RpcError where what an earlier run left can't be removed, and what
    ``clock.check`` raises, after the removal.
    """
    sweep(access)
    for handler, parent in wishes:
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
    wish = SandboxWish(
        name=f"verify-{handler or 'default'}",
        namespace=NAMESPACE,
        uid=str(uuid.uuid4()),
        label=LABEL,
        cgroup_parent=cgroup_parent,
    )
    try:
        with Connection(access, deadline, clock.check) as connection:
            sandbox = CriClient(connection).run_sandbox(wish, handler)
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
    """Remove every sandbox of ours, also those that an engine lists within ``settling`` seconds.

    Raises RpcError where one can't be removed: the next run tries again.
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
