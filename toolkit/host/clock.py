"""The clock: time, waiting, and the safe points at which signals are taken.

Signals stay blocked while the program runs. They are taken only here, never in a handler, so no
step of a setup is interrupted halfway.
"""

from __future__ import annotations

import signal
import time
from typing import Protocol

from toolkit.errors import InterruptedBySignalError
from toolkit.host import signals


class Clock(Protocol):
    """Time and waiting; every wait and every safe point goes through it."""

    def now(self) -> float:
        """Return monotonic seconds."""

    def sleep(self, seconds: float) -> None:
        """Wait; raises InterruptedBySignalError when a termination signal is pending or arrives."""

    def check(self) -> None:
        """Raise InterruptedBySignalError when a termination signal is pending (a safe point)."""


class SystemClock:
    """The system's monotonic clock; takes termination signals."""

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait; raises InterruptedBySignalError when a termination signal is pending or arrives."""
        taken = signals.take_signal(seconds)
        if taken:
            raise InterruptedBySignalError(signal.Signals(taken).name)

    def check(self) -> None:
        """Raise InterruptedBySignalError when a termination signal is pending (a safe point)."""
        self.sleep(0.0)


class UninterruptedClock:
    """A clock that leaves signals pending: a rollback or revert is not interrupted."""

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait; signals stay pending."""
        time.sleep(seconds)

    def check(self) -> None:
        """Do nothing: signals stay pending."""
