"""One root error with exit code and hint; one subclass a cause."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells its caller."""

    DONE = 0
    FAILED = 1
    """Failed, and the host is as it was before."""
    USAGE = 2
    NOT_RESTORED = 3
    """Failed, and the host could not be restored; the message says what is left."""
    LOCKED = 4
    """Another instance holds the lock."""
    CHANGES = 5
    """``plan --detailed-exitcode``: there is something to do."""


class ToolkitError(Exception):
    """A failure with one clear line: what is wrong and where, and a hint what to do."""

    exit_code: ExitCode = ExitCode.FAILED
    undone: bool = False
    """A change of the host was begun, and taken back."""

    def __init__(self, message: str, hint: str = "", exit_code: ExitCode | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code

    def __str__(self) -> str:
        """Return message and hint as one line."""
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(ToolkitError):
    """A flag or variable with a value that can't be used."""

    exit_code = ExitCode.USAGE


class LockedError(ToolkitError):
    """Another instance holds the lock."""

    exit_code = ExitCode.LOCKED
    holder: int | None = None
    """Its PID; None where it has not written it."""


class HostPathError(ToolkitError):
    """A path that can't be resolved inside the host root, or not be read or written."""


class ExchangeUnsupportedError(HostPathError):
    """Two entries can't be exchanged in one step here: the file system or a mount forbids it."""


class PayloadError(ToolkitError):
    """The payload is incomplete or does not fit this host."""


class EngineConfigError(ToolkitError):
    """A file of the engine that does not parse, or whose result the engine would not load."""


class ConcurrentEditError(EngineConfigError):
    """Somebody wrote a file of the engine between our look at it and our writing."""


class EngineNotFoundError(ToolkitError):
    """No engine, the wrong one, or one that may not be signalled, behind the socket."""


class EngineInvisibleError(EngineNotFoundError):
    """The engine's process is in no PID namespace that is seen from here."""


class EngineTimeoutError(ToolkitError):
    """The engine did not answer, come back or serve the handlers before the deadline."""


class EngineRejectedError(ToolkitError):
    """The engine answered, but refuses what we wrote or reports an error of its own."""


class JournalError(ToolkitError):
    """The journal can't be read, or a newer version of this program wrote it."""


class NewerJournalError(JournalError):
    """A newer version of this program wrote the journal: it is not touched."""


class NotRestoredError(ToolkitError):
    """A rollback or revert that could not be finished; the message says what is left where."""

    exit_code = ExitCode.NOT_RESTORED


class InterruptedBySignalError(ToolkitError):
    """A termination signal was taken at a safe point."""

    def __init__(self, signal_name: str) -> None:
        super().__init__(f"interrupted by {signal_name}")
        self.signal_name = signal_name


def signal_behind(error: BaseException) -> InterruptedBySignalError | None:
    """Return the signal that was taken, also where its rollback failed: a revert is next to try."""
    for each in (error, error.__cause__):
        if isinstance(each, InterruptedBySignalError):
            return each
    return None
