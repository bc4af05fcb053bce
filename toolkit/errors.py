"""The root error with exit code and hint, and one subclass per cause."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of the process."""

    DONE = 0
    FAILED = 1
    """Failed; the host is as it was before."""
    USAGE = 2
    NOT_RESTORED = 3
    """Failed, and the host could not be restored; the message says what is left."""
    LOCKED = 4
    """Another instance holds the lock."""
    CHANGES = 5
    """``plan --detailed-exitcode``: a setup would change something."""


class ToolkitError(Exception):
    """A failure: one clear line that says what is wrong and where, and a hint how to fix it."""

    exit_code: ExitCode = ExitCode.FAILED
    undone: bool = False
    """Whether a change of the host was begun and undone."""

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
    """A flag or variable with an unusable value."""

    exit_code = ExitCode.USAGE


class LockedError(ToolkitError):
    """Another instance holds the lock."""

    exit_code = ExitCode.LOCKED
    holder: int | None = None
    """Its PID; None if the pid file has none."""


class HostPathError(ToolkitError):
    """A path that cannot be resolved inside the host root, read or written."""


class NotWritableError(HostPathError):
    """A file that a setup has to write and can't: nothing was tried."""


class ExchangeUnsupportedError(HostPathError):
    """Two entries cannot be exchanged in one step: the file system or a mount forbids it."""


class PayloadError(ToolkitError):
    """The payload is incomplete or does not fit this host."""


class EngineConfigError(ToolkitError):
    """A file of the engine does not parse, or the engine would reject the result."""


class ConcurrentEditError(EngineConfigError):
    """Another process wrote a file of the engine after it was read and before it was replaced."""


class EngineNotFoundError(ToolkitError):
    """Behind the socket is no engine, the wrong one, or one that may not be signalled."""


class EngineInvisibleError(EngineNotFoundError):
    """The engine's process is in no PID namespace visible from here."""


class EngineTimeoutError(ToolkitError):
    """The engine did not answer, come back or serve the handlers before the deadline."""


class EngineRejectedError(ToolkitError):
    """The engine answered, but rejects the change or reports an error of its own."""


class JournalError(ToolkitError):
    """The journal is unreadable, or a newer version of this program wrote it."""


class NewerJournalError(JournalError):
    """A newer version of this program wrote the journal; it is not touched."""


class NotRestoredError(ToolkitError):
    """A rollback or revert could not be completed; the message says what is left where."""

    exit_code = ExitCode.NOT_RESTORED


class InterruptedBySignalError(ToolkitError):
    """A termination signal was taken at a safe point."""

    def __init__(self, signal_name: str) -> None:
        super().__init__(f"interrupted by {signal_name}")
        self.signal_name = signal_name


def signal_behind(error: BaseException) -> InterruptedBySignalError | None:
    """Return the signal behind an error, even if the rollback failed: a revert can be tried."""
    for each in (error, error.__cause__):
        if isinstance(each, InterruptedBySignalError):
            return each
    return None
