"""Poll an engine, with short steps first so that a fast engine causes no delay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Self, TypeVar

from toolkit import logs
from toolkit.host.clock import Clock, UninterruptedClock

log = logs.get(__name__)

Found = TypeVar("Found")
VERIFY_TIMEOUT: Final = "--verify-timeout"
STOP_TIMEOUT: Final = "--stop-timeout"
REMINDER_SECONDS = 15.0
"""Seconds between two log lines about a long wait."""
LOOK_SECONDS = 5.0
"""Seconds of one look at an engine, after which it counts as not answering."""
AT_LEAST = 0.05
"""Minimum seconds for an engine to answer a connection, even after a deadline."""
CHECK_SECONDS = 0.1
"""Seconds between two safe points during a call."""
_FIRST = 0.001
_LONGEST = 0.1
_GROWTH = 1.15


class Deadline(float):
    """A value of the clock that ends a wait for an engine, with the user's limit.

    ``seconds`` is the limit, ``flag`` the flag that sets it.
    """

    seconds: float
    flag: str

    @classmethod
    def after(cls, began: float, seconds: float, flag: str) -> Self:
        """Return the deadline of a limit that began at a value of the clock."""
        made = cls(began + seconds)
        made.seconds, made.flag = seconds, flag
        return made


def left(deadline: float, at_least: float = AT_LEAST) -> float:
    """Return the seconds until a deadline, for an engine or its program to answer in.

    A socket's timeout and a program's limit pass in real time, whatever clock a wait has.
    """
    return max(at_least, deadline - UninterruptedClock().now())


def too_slow(deadline: float, see: str = "the engine's log") -> str:
    """Return the hint for an engine that did not answer by a deadline."""
    if not isinstance(deadline, Deadline):
        return f"see {see}"
    return f"see {see}; {deadline.flag} sets the limit of {deadline.seconds:g} s"


class Reminder:
    """Logs a long wait from time to time, so that it is not mistaken for a hang."""

    def __init__(self, what: str, began: float, limit: float | None = None) -> None:
        self._what = what
        self._began = began
        self._fields = {} if limit is None else {"up_to_seconds": limit}
        self._next = began + REMINDER_SECONDS

    def look(self, now: float) -> None:
        """Log the wait if it is time to; ``now`` is a value of the same clock."""
        if now >= self._next:
            self._next = now + REMINDER_SECONDS
            waited = now - self._began
            log.step("wait.goes_on", f"waiting for {self._what}", seconds=waited, **self._fields)


def until(
    look: Callable[[], Found | None],
    clock: Clock,
    deadline: float,
    what: str,
    *,
    every: float | None = None,
) -> Found | None:
    """Call ``look`` until it finds something; return None at the deadline.

    ``what`` is named in the log of a long wait. ``every`` is the seconds between two looks; None:
    a millisecond at first, a tenth of a second in the end. A slow ``look`` must keep the deadline
    itself.
    """
    limit = deadline.seconds if isinstance(deadline, Deadline) else None
    reminder = Reminder(what, clock.now(), limit)
    step = every or _FIRST
    while True:
        found = look()
        if found is not None:
            return found
        now = clock.now()
        reminder.look(now)
        if now >= deadline:
            return None
        clock.sleep(min(step, deadline - now))
        step = every or min(_LONGEST, step * _GROWTH)
