"""A sandbox in which programs of the host run without changing it.

They see the host root read-only, an empty ``/run`` and ``/dev`` and no network. So an engine can be
started there on any config: the sockets it unlinks, its ports and its state are its own. Needs
CAP_SYS_ADMIN, as in a privileged container.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import select
import signal
import sys
from collections.abc import Mapping
from typing import Any, Self

from msgspec import Struct, field

from toolkit.errors import ToolkitError
from toolkit.host.child import LATE, REACHED
from toolkit.host.commands import PATH, CommandResult

DIRECTORY = "/run/nvidia-toolkit-dry-run"
"""The directory of a program's files, visible only inside the sandbox."""
_ENDING_SECONDS = 5.0
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from toolkit.host.sandbox_child import main; main(sys.argv[2])"
)
"""Runs the compiled child: as a script it would be compiled each time."""
_PACKAGES = __file__.rpartition("/toolkit/")[0]


class SandboxUnavailableError(ToolkitError):
    """The kernel does not allow the namespaces here, or the sandbox exited."""


class Program(Struct, frozen=True, kw_only=True):
    """A program to run in the sandbox."""

    arguments: tuple[str, ...]
    seconds: float
    """Its time limit, after which it is killed."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Files to create first, by path below ``DIRECTORY``."""
    until: tuple[bytes, ...] = ()
    """Stop the program, as a success, once its standard error contains one of these."""
    search: bool = True
    """Whether the program finds others in the PATH."""


class Sandbox:
    """A sandbox of Linux namespaces, with ``sandbox_child`` inside."""

    def __init__(self, pid: int, requests: int, answers: int) -> None:
        self._pid = pid
        self._requests = os.fdopen(requests, "wb")
        self._answers = os.fdopen(answers, "rb")

    @classmethod
    def open(cls, root: str) -> Self:
        """Create one with a view of this host root. Raises SandboxUnavailableError."""
        (theirs, requests), (answers, ours) = os.pipe(), os.pipe()
        try:
            pid = os.posix_spawn(
                sys.executable,
                (sys.executable, "-I", "-S", "-c", _START, _PACKAGES, root),
                {},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs, 0),
                    (os.POSIX_SPAWN_DUP2, ours, 1),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
                setpgroup=0,
                # Our signals are blocked; programs in the sandbox must not inherit that.
                setsigmask=(),
            )
        except OSError as error:
            for each in (requests, answers):
                os.close(each)
            raise SandboxUnavailableError(f"{sys.executable}: {error.strerror}") from error
        finally:
            for each in (theirs, ours):
                os.close(each)
        made = cls(pid, requests, answers)
        try:
            answer = made._receive()
        except SandboxUnavailableError:
            made.close()
            raise
        if not answer["ready"]:
            made.close()
            raise SandboxUnavailableError(str(answer["reason"]))
        return made

    def run(self, *programs: Program) -> tuple[CommandResult, ...]:
        """Run programs at the same time and wait for all of them; none sees the others' files.

        Raises SandboxUnavailableError.
        """
        try:
            marshal.dump([_message(each) for each in programs], self._requests)
            self._requests.flush()
        except (OSError, ValueError) as error:
            raise SandboxUnavailableError(f"it ended: {error}") from error
        return tuple(map(_result, self._receive()))

    def close(self) -> None:
        """Stop everything that still runs in the sandbox."""
        if self._requests.closed:
            return
        ended = os.pidfd_open(self._pid)
        # The child exits at the end of its requests, after everything in its namespace.
        with contextlib.suppress(OSError):
            self._requests.close()
        if not select.select([ended], [], [], _ENDING_SECONDS)[0]:
            os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(ended)
        self._answers.close()

    def _receive(self) -> Any:  # noqa: ANN401 - a document of our own child's
        try:
            return marshal.load(self._answers)  # noqa: S302 - the same
        except (EOFError, ValueError, TypeError, OSError) as error:
            raise SandboxUnavailableError("its process ended") from error


def _message(program: Program) -> dict[str, object]:
    return {
        "files": dict(program.files),
        "arguments": program.arguments,
        "until": program.until,
        "seconds": float(program.seconds),
        "environment": {"PATH": PATH if program.search else "/nonexistent", "LANG": "C.UTF-8"},
    }


def _result(answer: Mapping[str, Any]) -> CommandResult:
    return CommandResult(
        status=0 if answer["how"] == REACHED else answer["status"],
        output=answer["output"],
        errors=answer["errors"].decode(errors="replace"),
        timed_out=answer["how"] == LATE,
    )
