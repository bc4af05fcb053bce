"""Waiting with signals blocked: taken at once, taken once, and none that was never sent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

PROLOGUE = """
    import os, signal, sys, time
    from toolkit.errors import InterruptedBySignalError
    from toolkit.host.clock import SystemClock
    from toolkit.host.signals import block_signals
    block_signals()
    clock = SystemClock()
"""


def python(code: str) -> subprocess.Popen[str]:
    """Start a program that has blocked its signals."""
    text = textwrap.dedent(PROLOGUE) + textwrap.dedent(code)
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)


def test_a_process_that_was_stopped_and_goes_on_takes_no_signal_that_nobody_sent() -> None:
    process = python(
        """
        print("ready", flush=True)
        end = time.monotonic() + 6
        while time.monotonic() < end:
            clock.sleep(0.1)
            clock.check()
        print("undisturbed")
        """
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for _ in range(12):
        time.sleep(0.15)
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.25)
        os.kill(process.pid, signal.SIGCONT)
    assert process.communicate(timeout=60)[0] == "undisturbed\n"
    assert process.returncode == 0


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP])
def test_a_signal_ends_a_wait_at_once_and_is_taken_once(sent: signal.Signals) -> None:
    process = python(
        """
        print("ready", flush=True)
        try:
            clock.sleep(3600)
        except InterruptedBySignalError as error:
            print(error.signal_name)
        clock.check()
        clock.sleep(0.05)
        print(sorted(signal.sigpending()), signal.getitimer(signal.ITIMER_REAL))
        """
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(sent)
    assert process.communicate(timeout=60)[0] == f"{sent.name}\n[] (0.0, 0.0)\n"


def test_a_signal_that_came_before_the_wait_is_taken_without_waiting() -> None:
    process = python(
        """
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            clock.check()
        except InterruptedBySignalError as error:
            print(error.signal_name)
        """
    )
    assert process.communicate(timeout=60)[0] == "SIGTERM\n"


def test_a_wait_lasts_as_long_as_it_should() -> None:
    process = python(
        """
        began = time.monotonic()
        for seconds in (0.0, 0.2, 0.3):
            clock.sleep(seconds)
        print(time.monotonic() - began >= 0.5)
        """
    )
    assert process.communicate(timeout=60)[0] == "True\n"
