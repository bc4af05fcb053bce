"""Start something briefly with each handler, and remove it.

What is started carries a label, so whatever a failure, a signal or a kill leaves is removed by the
next run at the latest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from toolkit.engine.facts import HandlerRun
from toolkit.errors import ToolkitError
from toolkit.host.clock import Clock

REMOVAL_SECONDS = 10.0
"""Seconds for the removal; a deadline that has passed does not shorten it."""
_SETTLING_SECONDS = 1.0
"""Seconds for an engine to list a sandbox that it created although the call was aborted."""


def run_each(
    handlers: Sequence[str],
    start: Callable[[str], HandlerRun],
    sweep: Callable[[float], None],
    clock: Clock,
) -> tuple[HandlerRun, ...]:
    """Start, inspect and remove something for each handler, empty for the default one.

    ``sweep`` removes all that carries the label, also what the engine lists only within the given
    seconds. Raises ToolkitError if the remains of an earlier run cannot be removed, and whatever
    ``clock.check`` raises, after the removal.
    """
    sweep(0.0)
    found = []
    for handler in handlers:
        clock.check()
        try:
            run = start(handler)
        except BaseException:
            with contextlib.suppress(ToolkitError):
                sweep(_SETTLING_SECONDS)
            raise
        try:
            sweep(_SETTLING_SECONDS if run.failure else 0.0)
        except ToolkitError as error:
            left = f"what it started could not be removed: {error.message}"
            run = replace(run, failure="; ".join(filter(None, (run.failure, left))))
        found.append(run)
    return tuple(found)
