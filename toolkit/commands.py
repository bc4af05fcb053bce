"""What each command of the program calls, imported only when it is called."""

from __future__ import annotations

import signal
from typing import Protocol

from toolkit.errors import ExitCode
from toolkit.host.clock import BLOCKED
from toolkit.settings import Output, Settings


class Commands(Protocol):
    """The commands, each with the settings and the options that are its own."""

    def run(self, settings: Settings) -> ExitCode:
        """Set up, wait, revert."""

    def revert(self, settings: Settings, output: Output, *, purge: bool) -> ExitCode:
        """Put back what an earlier set-up changed."""

    def plan(self, settings: Settings, output: Output, *, detailed_exitcode: bool) -> ExitCode:
        """Show what a set-up would change."""

    def status(self, settings: Settings, output: Output) -> ExitCode:
        """Show what is installed."""

    def verify(self, settings: Settings, output: Output) -> ExitCode:
        """Ask the engine which handlers it serves."""

    def doctor(self, settings: Settings, output: Output) -> ExitCode:
        """Check the host before anything is done."""


class ProgramCommands:
    """The real ones. Signals come in blocked; commands that change nothing let them through."""

    def run(self, settings: Settings) -> ExitCode:
        """Set up, wait, revert."""
        from toolkit import daemon

        return daemon.run(settings)

    def revert(self, settings: Settings, output: Output, *, purge: bool) -> ExitCode:
        """Put back what an earlier set-up changed."""
        from toolkit import daemon, reports

        return reports.reverted(daemon.revert(settings, purge=purge), output)

    def plan(self, settings: Settings, output: Output, *, detailed_exitcode: bool) -> ExitCode:
        """Show what a set-up would change."""
        from toolkit import reports

        _let_signals_end_us()
        return reports.plan(settings, output, detailed_exitcode=detailed_exitcode)

    def status(self, settings: Settings, output: Output) -> ExitCode:
        """Show what is installed."""
        from toolkit import reports

        _let_signals_end_us()
        return reports.status(settings, output)

    def verify(self, settings: Settings, output: Output) -> ExitCode:
        """Ask the engine which handlers it serves."""
        from toolkit import reports

        _let_signals_end_us()
        return reports.verify(settings, output)

    def doctor(self, settings: Settings, output: Output) -> ExitCode:
        """Check the host before anything is done."""
        from toolkit import reports

        _let_signals_end_us()
        return reports.doctor(settings, output)


def _let_signals_end_us() -> None:
    """Take signals as any program does: there is nothing to be undone, and Ctrl-C is quiet."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)
