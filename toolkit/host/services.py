"""systemd units, through the host's systemctl."""

from __future__ import annotations

from typing import Protocol

from toolkit.errors import EngineNotFoundError, EngineTimeoutError
from toolkit.host.commands import CommandResult, CommandRunner

_AT_LEAST = 2.0
"""Minimum seconds for a call of systemctl, which takes some hundredths of one. Starting an engine
after the deadline is better than not starting it."""
_STATES = ("LoadState", "RefuseManualStart")
_STARTABLE = ("loaded", "merged")


class Services(Protocol):
    """Operations on the host's services; ``seconds`` is the time left."""

    def require(self, unit: str, seconds: float) -> None:
        """Raise EngineNotFoundError if systemd cannot be asked or would not start the unit."""

    def prepare(self, unit: str, seconds: float) -> None:
        """Reset a unit's start counter, so that its start limit does not count earlier starts."""

    def restart(self, unit: str, seconds: float) -> None:
        """Request a restart; the unit may still be starting when this returns.

        Raises EngineTimeoutError with systemd's reason if systemd refuses.
        """

    def start(self, unit: str, seconds: float) -> None:
        """Request a start unless the unit runs. Raises as ``restart`` does."""


class Systemctl:
    """The host's systemd."""

    def __init__(self, commands: CommandRunner) -> None:
        self._commands = commands

    def require(self, unit: str, seconds: float) -> None:
        """Raise EngineNotFoundError if systemd cannot be asked or would not start the unit.

        A unit that is masked, or whose file is gone, keeps running until it is stopped.
        """
        result = self._run(("show", f"--property={','.join(_STATES)}", unit), seconds)
        lines = result.output.decode(errors="replace").splitlines()
        states = dict(line.partition("=")[::2] for line in lines)
        loaded = states.get("LoadState")
        if result.status != 0 or not loaded:
            raise EngineNotFoundError(
                f"systemd can't be reached for {unit}: {result.reason}",
                "set hostPID: true and run privileged; without systemd use --restart-mode=signal",
            )
        if loaded == "masked":
            raise EngineNotFoundError(
                f"{unit} is masked: systemd would not start it again",
                f"run `systemctl unmask {unit}` on the host, or use --restart-mode=none",
            )
        if loaded not in _STARTABLE or states.get("RefuseManualStart") == "yes":
            why = "may not be started by hand" if loaded in _STARTABLE else f"is {loaded}"
            raise EngineNotFoundError(
                f"{unit} {why}: systemd would not start it again",
                f"see `systemctl status {unit}` on the host, or use --restart-mode=none",
            )

    def prepare(self, unit: str, seconds: float) -> None:
        """Reset a unit's start counter.

        systemd counts manual starts against the start limit (5 in 10 s by default, docker.service 3
        in 60 s), and a unit that exceeds it stays failed whatever its ``Restart=`` says (tried with
        systemd 252). A unit with nothing to reset is not an error.
        """
        self._run(("reset-failed", unit), seconds)

    def restart(self, unit: str, seconds: float) -> None:
        """Request a restart; the unit may still be starting when this returns."""
        self._order("restart", unit, seconds)

    def start(self, unit: str, seconds: float) -> None:
        """Request a start unless the unit runs.

        A unit that died and waits for its ``RestartSec`` is restarted: a start would wait that long
        as well (tried with systemd 252: 10 s with CRI-O's unit).
        """
        shown = self._run(("show", "--property=SubState", "--value", unit), seconds / 2)
        waits = shown.output.strip() == b"auto-restart"
        self._order("restart" if waits else "start", unit, seconds / 2)

    def _order(self, verb: str, unit: str, seconds: float) -> None:
        # Not blocking: we wait for the engine's own answer instead, within our deadline.
        result = self._run(("--no-block", verb, unit), seconds)
        if result.status != 0:
            raise EngineTimeoutError(
                f"systemctl {verb} {unit} failed: {result.reason}",
                f"see `systemctl status {unit}` on the host",
            )

    def _run(self, arguments: tuple[str, ...], seconds: float) -> CommandResult:
        return self._commands.run(("systemctl", *arguments), max(_AT_LEAST, seconds))
