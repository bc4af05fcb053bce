"""Block termination signals and take them where the program waits for them.

Imports only C modules of the standard library: the resident process loads this module.
"""

import _signal  # type: ignore[import-not-found]
import time

ENDING = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGHUP)
TERMINATION = ENDING[: 3 if _signal.getsignal(_signal.SIGHUP) == _signal.SIG_IGN else 4]
"""The signals that roll back a setup or start the revert; without SIGHUP under ``nohup``."""
BLOCKED = (*TERMINATION, _signal.SIGALRM, _signal.SIGUSR1, _signal.SIGUSR2)
"""TERMINATION, SIGALRM, which ends a wait, and two that would kill the process by default."""
MIN_TIMER_SECONDS = 0.000001
"""The shortest time of a timer; 0 would switch it off."""


def block_signals() -> None:
    """Block the signals for this thread and all that it starts; they stay blocked across exec."""
    _signal.pthread_sigmask(_signal.SIG_BLOCK, BLOCKED)


def take_signal(seconds: float) -> int:
    """Take a termination signal that is pending or arrives within ``seconds``; return 0 if none.

    SIGALRM, blocked too, ends the wait. ``sigtimedwait`` is not used: when a stopped or frozen
    process continues, CPython returns uninitialised memory as the signal (3.11 to 3.13,
    ``signal_sigtimedwait_impl``; tests/unit/test_host_clock.py shows it).
    """
    end = time.monotonic() + seconds
    while not pending():
        left = end - time.monotonic()
        if left <= 0:
            return 0
        _signal.setitimer(_signal.ITIMER_REAL, max(left, MIN_TIMER_SECONDS))
        taken: int = _signal.sigwaitinfo((*TERMINATION, _signal.SIGALRM)).si_signo
        _signal.setitimer(_signal.ITIMER_REAL, 0.0)
        if _signal.SIGALRM in _signal.sigpending():
            # A pending SIGALRM would end the next wait, or reach the next program after an exec.
            _signal.sigwait((_signal.SIGALRM,))
        if taken != _signal.SIGALRM:
            return taken
    return int(_signal.sigwaitinfo(TERMINATION).si_signo)


def pending() -> bool:
    """Return whether a termination signal is pending."""
    return any(each in TERMINATION for each in _signal.sigpending())
