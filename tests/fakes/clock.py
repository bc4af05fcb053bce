"""A clock for what a look finds, however long it takes on a busy machine."""

from __future__ import annotations

from toolkit.host.clock import UninterruptedClock


class TwoLooks(UninterruptedClock):
    """Every deadline is over once it has waited: what is waited for is looked at twice, in full."""

    def __init__(self) -> None:
        self._over = False

    def now(self) -> float:
        """Return the time, or one long after it."""
        return super().now() + (86400.0 if self._over else 0.0)

    def sleep(self, seconds: float) -> None:
        """Wait, and be late from now on."""
        super().sleep(seconds)
        self._over = True
