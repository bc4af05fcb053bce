"""Run programs of the host in the host root, never through a shell."""

from __future__ import annotations

import os
import select
import signal
import time
from typing import Protocol, Self

from msgspec import Struct

OUTPUT_LIMIT = 64 * 1024 * 1024
"""Bytes kept of each stream; the dump of a config with 10,000 tables is a few MiB."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin"
_CHUNK = 1 << 16
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
        with _Pipes() as pipes:
            try:
                pid = os.posix_spawnp(
                    command[0],
                    command,
                    {"PATH": PATH, "LANG": "C.UTF-8"},
                    file_actions=pipes.file_actions(),
                    setpgroup=0,
                    # Our signals are blocked; a child that inherits the mask could not be stopped.
                    setsigmask=(),
                    setsigdef=(signal.SIGPIPE,),
                )
            except OSError as error:
                reason = f"{command[0]}: {error.strerror}"
                return CommandResult(status=_NOT_STARTED, output=b"", errors=reason)
            pipes.close_writers()
            return _finish(pid, pipes, time.monotonic() + seconds)


class _Pipes:
    """A pipe for each of a child's output streams."""

    def __init__(self) -> None:
        self.readers: list[int] = []
        self._writers: list[int] = []

    def __enter__(self) -> Self:
        for _ in ("output", "errors"):
            reader, writer = os.pipe()
            self.readers.append(reader)
            self._writers.append(writer)
        return self

    def __exit__(self, *_: object) -> None:
        self.close_writers()
        for descriptor in self.readers:
            os.close(descriptor)

    def close_writers(self) -> None:
        """Close the writing ends, so that only the child holds them."""
        while self._writers:
            os.close(self._writers.pop())

    def file_actions(self) -> list[tuple[int, int, str, int, int] | tuple[int, int, int]]:
        """Return the child's file actions for posix_spawn."""
        return [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, self._writers[0], 1),
            (os.POSIX_SPAWN_DUP2, self._writers[1], 2),
        ]


def _finish(pid: int, pipes: _Pipes, deadline: float) -> CommandResult:
    """Read a child's output until it exits; kill its process group at the deadline."""
    collected = {reader: bytearray() for reader in pipes.readers}
    ended = os.pidfd_open(pid)
    try:
        timed_out = not _drain(ended, collected, deadline)
        if timed_out:
            os.killpg(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(ended)
    output, errors = (bytes(collected[reader]) for reader in pipes.readers)
    return CommandResult(
        status=os.waitstatus_to_exitcode(status),
        output=output,
        errors=errors.decode(errors="replace"),
        timed_out=timed_out,
    )


def _drain(ended: int, collected: dict[int, bytearray], deadline: float) -> bool:
    """Collect output until the child exits; return False if the deadline comes first.

    The child's exit counts, not the end of its pipes: a grandchild may keep them open forever.
    """
    poll = select.poll()
    for descriptor in (ended, *collected):
        poll.register(descriptor, select.POLLIN)
    finished = False
    while True:
        left = 0.0 if finished else max(0.0, deadline - time.monotonic())
        ready = [descriptor for descriptor, _ in poll.poll(left * 1000)]
        if not ready:
            return finished
        for descriptor in ready:
            if descriptor == ended:
                finished = True
                poll.unregister(ended)
                continue
            chunk = os.read(descriptor, _CHUNK)
            if not chunk:
                poll.unregister(descriptor)
            elif len(collected[descriptor]) < OUTPUT_LIMIT:
                collected[descriptor] += chunk
