"""Waiting for an engine: short steps at first, so that a fast engine is not waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from toolkit.host.clock import Clock

Found = TypeVar("Found")
AT_LEAST = 0.05
"""Seconds in which an engine may answer a connection of ours, however late it is."""
_FIRST = 0.001
_LONGEST = 0.1
_GROWTH = 1.15


def steps(first: float = _FIRST, longest: float = _LONGEST) -> Iterator[float]:
    """Seconds to wait between looks: from a millisecond to a tenth of a second."""
    step = first
    while True:
        yield step
        step = min(longest, step * _GROWTH)


def until(look: Callable[[], Found | None], clock: Clock, deadline: float) -> Found | None:
    """Look again and again until something is found; None at the deadline.

    A look that takes time of its own has to keep the deadline itself.
    """
    for step in steps():
        found = look()
        if found is not None:
            return found
        left = deadline - clock.now()
        if left <= 0:
            return None
        clock.sleep(min(step, left))
    raise AssertionError("steps never end")
