"""Run programs of the host in the host root, never through a shell."""

from __future__ import annotations

import os
import signal
import time
from typing import Protocol

from msgspec import Struct

from toolkit.host.child import LATE, finish

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin"
_NOT_STARTED = 127


class CommandResult(Struct, frozen=True, kw_only=True):
    """The result of a program."""

    status: int
    """Its exit status; the negative signal number if it was killed; 127 if it could not be
    started."""
    output: bytes
    errors: str
    timed_out: bool = False

    @property
    def reason(self) -> str:
        """The last line of its output, for an error message."""
        if self.timed_out:
            return "it timed out"
        text = self.errors.strip() or self.output.decode(errors="replace").strip()
        return text.splitlines()[-1].strip() if text else f"exit status {self.status}"


class CommandRunner(Protocol):
    """Runs programs on the host."""

    def run(self, arguments: tuple[str, ...], seconds: float) -> CommandResult:
        """Run a program on the host; kill it when the time limit is reached."""


class HostCommands:
    """Runs programs with the host root as their root directory."""

    def __init__(self, root: str) -> None:
        self._root = root

    def run(self, arguments: tuple[str, ...], seconds: float) -> CommandResult:
        """Run a program on the host; kill it when the time limit is reached."""
        command = arguments if self._root == "/" else ("chroot", self._root, *arguments)
        (output, its_output), (errors, its_errors) = os.pipe(), os.pipe()
        try:
            pid = os.posix_spawnp(
                command[0],
                command,
                {"PATH": PATH, "LANG": "C.UTF-8"},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, its_output, 1),
                    (os.POSIX_SPAWN_DUP2, its_errors, 2),
                ],
                setpgroup=0,
                # Our signals are blocked; a child that inherits the mask could not be stopped.
                setsigmask=(),
                setsigdef=(signal.SIGPIPE,),
            )
        except OSError as error:
            os.close(output)
            os.close(errors)
            reason = f"{command[0]}: {error.strerror}"
            return CommandResult(status=_NOT_STARTED, output=b"", errors=reason)
        finally:
            os.close(its_output)
            os.close(its_errors)
        end = time.monotonic() + seconds
        how, status, printed, complaints = finish(pid, output, errors, end, kill=os.killpg)
        return CommandResult(
            status=status,
            output=printed,
            errors=complaints.decode(errors="replace"),
            timed_out=how == LATE,
        )
