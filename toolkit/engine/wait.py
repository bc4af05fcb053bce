"""Poll an engine, with short steps first so that a fast engine causes no delay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Final, TypeVar

from toolkit.host.clock import Clock

Found = TypeVar("Found")
SLOW: Final = "see the engine's log; --verify-timeout sets the limit, at a stop --stop-timeout"
"""The hint for an engine that does not answer in time."""
LOOK_SECONDS = 5.0
"""Seconds of one look at an engine, after which it counts as not answering."""
AT_LEAST = 0.05
"""Minimum seconds for an engine to answer a connection, even after a deadline."""
_FIRST = 0.001
_LONGEST = 0.1
_GROWTH = 1.15


def _growing() -> Iterator[float]:
    """Yield the seconds to wait between looks: from a millisecond to a tenth of a second."""
    step = _FIRST
    while True:
        yield step
        step = min(_LONGEST, step * _GROWTH)


def until(
    look: Callable[[], Found | None], clock: Clock, deadline: float, every: float | None = None
) -> Found | None:
    """Call ``look`` until it finds something; return None at the deadline.

    ``every`` is the time between two looks in seconds; None: growing steps. A slow ``look`` must
    keep the deadline itself.
    """
    for step in _growing() if every is None else repeat(every):
        found = look()
        if found is not None:
            return found
        left = deadline - clock.now()
        if left <= 0:
            return None
        clock.sleep(min(step, left))
    raise AssertionError("steps never end")
