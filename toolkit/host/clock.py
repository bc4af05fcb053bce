"""The one clock: time, waiting, and the safe points at which a signal is taken.

Signals are blocked from the first line of the program to its end and are taken here only, never in
a handler, so that no step of a setup is cut in two.
"""

from __future__ import annotations

import signal
import time
from typing import Protocol

from toolkit.errors import InterruptedBySignalError
from toolkit.host import signals

TERMINATION: tuple[int, ...] = signals.TERMINATION
"""The signals that undo a setup or begin the revert; a hang-up is not, under ``nohup``."""
BLOCKED = (*TERMINATION, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2)
"""With the one that ends a wait, and those that mean nothing here and would end any program."""


class Clock(Protocol):
    """Time and waiting; every wait and every safe point goes through it."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""

    def sleep(self, seconds: float) -> None:
        """Wait; raises InterruptedBySignalError when a termination signal is pending or arrives."""

    def check(self) -> None:
        """Be a safe point: raises InterruptedBySignalError when a termination signal is pending."""


class SystemClock:
    """The system's monotonic clock; takes termination signals."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait; raises InterruptedBySignalError when a termination signal is pending or arrives."""
        taken = signals.taken_within(seconds)
        if taken:
            raise InterruptedBySignalError(signal.Signals(taken).name)

    def check(self) -> None:
        """Be a safe point: raises InterruptedBySignalError when a termination signal is pending."""
        self.sleep(0.0)


class UninterruptedClock:
    """The same clock while something is being undone: a revert never goes back to our change."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait; signals stay pending."""
        time.sleep(seconds)

    def check(self) -> None:
        """Be a safe point at which nothing is taken."""


def block_termination_signals() -> None:
    """Block them for this thread and all that it starts; they stay blocked across exec."""
    signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
