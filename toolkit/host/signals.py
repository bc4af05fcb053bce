"""Termination signals: blocked, and taken only where the program waits for them.

Standard library's C modules only, since the process that stays resident loads this.
"""

import _signal  # type: ignore[import-not-found]
import time

ENDING = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGHUP)
TERMINATION = ENDING[: 3 if _signal.getsignal(_signal.SIGHUP) == _signal.SIG_IGN else 4]
"""Without the last one under ``nohup``."""
LEAST_SECONDS = 0.000001
"""The shortest time of a timer; 0 would switch it off."""


def block_signals() -> None:
    """Block what is waited for, which the daemon had blocked already, whichever version it was."""
    _signal.pthread_sigmask(_signal.SIG_BLOCK, (*TERMINATION, _signal.SIGALRM))


def taken_within(seconds: float) -> int:
    """Take a termination signal that is pending or comes in so many seconds; 0: none did.

    SIGALRM, blocked as they are, is the clock. Not ``sigtimedwait``: when a process goes on that
    was stopped or frozen, CPython returns from that with whatever lay in memory as the signal
    (3.11 to 3.13, ``signal_sigtimedwait_impl``; tests/unit/test_host_clock.py shows it).
    """
    end = time.monotonic() + seconds
    while not pending():
        left = end - time.monotonic()
        if left <= 0:
            return 0
        _signal.setitimer(_signal.ITIMER_REAL, max(left, LEAST_SECONDS))
        taken: int = _signal.sigwaitinfo((*TERMINATION, _signal.SIGALRM)).si_signo
        _signal.setitimer(_signal.ITIMER_REAL, 0.0)
        if _signal.SIGALRM in _signal.sigpending():
            # It would be the next one's, or that of the program that comes after an exec.
            _signal.sigwait((_signal.SIGALRM,))
        if taken != _signal.SIGALRM:
            return taken
    return int(_signal.sigwaitinfo(TERMINATION).si_signo)


def pending() -> bool:
    """Tell whether a termination signal is pending."""
    return any(each in TERMINATION for each in _signal.sigpending())
