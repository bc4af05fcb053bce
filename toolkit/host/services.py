"""systemd's units, asked through the host's own systemctl."""

from __future__ import annotations

from typing import Protocol

from toolkit.errors import EngineTimeoutError
from toolkit.host.commands import Commands

_SECONDS = 20.0


class Services(Protocol):
    """What is done with the host's services."""

    def prepare(self, unit: str) -> None:
        """Forget earlier starts of a unit, which its start limit would count with ours."""

    def restart(self, unit: str) -> None:
        """Have a unit started anew; it may still be starting when this returns.

        Raises EngineTimeoutError with systemd's reason where it won't.
        """

    def start(self, unit: str) -> None:
        """Have a unit started unless it runs. Raises as ``restart`` does."""


class Systemctl:
    """The host's systemd."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def prepare(self, unit: str) -> None:
        """Forget earlier starts of a unit.

        systemd counts manual starts against the start limit (5 in 10 s by default, docker.service
        3 in 60 s), and a unit that exceeds it stays failed whatever its ``Restart=`` says
        (tried with systemd 252). A unit without a failure to forget is no error.
        """
        self._commands.run(("systemctl", "reset-failed", unit), _SECONDS)

    def restart(self, unit: str) -> None:
        """Have a unit started anew; it may still be starting when this returns."""
        self._order("restart", unit)

    def start(self, unit: str) -> None:
        """Have a unit started unless it runs.

        One that died and waits for its ``RestartSec`` is restarted: a start would wait that long as
        well (tried with systemd 252: 10 s with CRI-O's unit).
        """
        shown = self._commands.run(
            ("systemctl", "show", "--property=SubState", "--value", unit), _SECONDS
        )
        waits = shown.output.strip() == b"auto-restart"
        self._order("restart" if waits else "start", unit)

    def _order(self, verb: str, unit: str) -> None:
        # Not blocking: the engine's own answer is what is waited for, within our deadline.
        result = self._commands.run(("systemctl", "--no-block", verb, unit), _SECONDS)
        if result.status != 0:
            raise EngineTimeoutError(
                f"systemctl {verb} {unit} failed: {result.reason}",
                f"see `systemctl status {unit}` on the host",
            )
