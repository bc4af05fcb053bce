"""A place where programs of the host run and can change nothing of it.

They see the host root read-only, with an empty ``/run`` and ``/dev`` and no network, so an engine
can be started on any config there: the sockets that it unlinks, the ports that it takes and the
state that it keeps are its own. Needs CAP_SYS_ADMIN, as a privileged container has it.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import select
import signal
import sys
from collections.abc import Mapping
from typing import Any, Protocol, Self

from msgspec import Struct, field

from toolkit.errors import ToolkitError
from toolkit.host import sandbox_child
from toolkit.host.commands import PATH, CommandResult

DIRECTORY = "/run/nvidia-toolkit-dry-run"
"""Below it the files of a request lie, as its program sees them; nobody else does."""


_ENDING_SECONDS = 5.0


class SandboxUnavailableError(ToolkitError):
    """The namespaces that it takes may not be made here, or it ended."""


class Request(Struct, frozen=True, kw_only=True):
    """One program to be run."""

    arguments: tuple[str, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Paths below ``DIRECTORY``, with what lies there meanwhile."""
    until: tuple[bytes, ...] = ()
    """It is ended, with success, once its standard error has one of these."""
    search: bool = True
    """Whether it finds other programs in the PATH."""


class Sandbox(Protocol):
    """Runs programs of the host without effect on it."""

    def run(self, request: Request, seconds: float) -> CommandResult:
        """Run a program and wait for it, at most so long; then it is killed.

        Raises SandboxUnavailableError.
        """

    def close(self) -> None:
        """End whatever still runs in it."""


class NamespaceSandbox:
    """A sandbox of Linux namespaces, with ``sandbox_child`` inside."""

    def __init__(self, pid: int, requests: int, answers: int) -> None:
        self._pid = pid
        self._requests = os.fdopen(requests, "wb")
        self._answers = os.fdopen(answers, "rb")

    @classmethod
    def open(cls, root: str) -> Self:
        """Make one with a view of this host root. Raises SandboxUnavailableError."""
        (theirs, requests), (answers, ours) = os.pipe(), os.pipe()
        try:
            pid = os.posix_spawn(
                sys.executable,
                (sys.executable, "-I", "-S", sandbox_child.__file__, root),
                {},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs, 0),
                    (os.POSIX_SPAWN_DUP2, ours, 1),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
                setpgroup=0,
                # Ours are blocked, and what it starts must not inherit that.
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

    def run(self, request: Request, seconds: float) -> CommandResult:
        """Run a program and wait for it, at most so long; then it is killed."""
        environment = {"PATH": PATH if request.search else "/nonexistent", "LANG": "C.UTF-8"}
        content = {
            "files": dict(request.files),
            "arguments": request.arguments,
            "until": request.until,
            "seconds": float(seconds),
            "environment": environment,
        }
        try:
            marshal.dump(content, self._requests)
            self._requests.flush()
        except (OSError, ValueError) as error:
            raise SandboxUnavailableError(f"it ended: {error}") from error
        answer = self._receive()
        return CommandResult(
            status=0 if answer["ended"] == "reached" else answer["status"],
            output=answer["output"],
            errors=answer["errors"].decode(errors="replace"),
            timed_out=answer["ended"] == "late",
        )

    def close(self) -> None:
        """End whatever still runs in it."""
        if self._requests.closed:
            return
        ended = os.pidfd_open(self._pid)
        # The end of its requests ends it, and its end waits for that of all in its namespace.
        with contextlib.suppress(OSError):
            self._requests.close()
        if not select.select([ended], [], [], _ENDING_SECONDS)[0]:
            os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(ended)
        self._answers.close()

    def _receive(self) -> Mapping[str, Any]:
        try:
            answer: Mapping[str, Any] = marshal.load(self._answers)  # noqa: S302 - our own child's
        except (EOFError, ValueError, TypeError, OSError) as error:
            raise SandboxUnavailableError("its process ended") from error
        return answer
