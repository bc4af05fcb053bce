"""The wait before the next attempt to connect."""

from __future__ import annotations

SHORTEST = 0.1
LONGEST = 5.0
"""Seconds. A node whose engine restarts waits at most this long for its GPU devices."""


class Backoff:
    """Doubles from the shortest to the longest wait; starts over once connected."""

    def __init__(self) -> None:
        self._next = SHORTEST

    def next(self) -> float:
        """Return the seconds to wait now."""
        wait = self._next
        self._next = min(LONGEST, wait * 2)
        return wait

    def reset(self) -> None:
        """Start over with the shortest wait."""
        self._next = SHORTEST
