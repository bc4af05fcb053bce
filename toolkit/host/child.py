"""The output and the end of a child process, within a time limit.

Imports little: the child of ``sandbox`` loads this module too.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # ``signal`` makes enums of its numbers
import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # loading this takes as long as everything else
    from collections.abc import Callable

OUTPUT_LIMIT = 1 << 26
"""Bytes kept of each stream; the dump of a config with 10,000 tables is a few MiB."""
ENDED, LATE, REACHED = "ended", "late", "reached"
"""A child exited by itself, or was killed: at the time limit, or after the awaited output."""


def finish(
    pid: int,
    output: int,
    errors: int,
    end: float,
    *,
    until: tuple[bytes, ...] = (),
    kill: Callable[[int, int], object] = os.kill,
) -> tuple[str, int, bytes, bytes]:
    """Read a child's two streams until it exits; reap it and close them.

    It is killed at the monotonic time ``end``, and once its errors contain one of ``until``.
    Returns how it ended, its exit status (the negative signal number if it was killed), its output
    and its errors.
    """
    collected = {output: bytearray(), errors: bytearray()}
    exited = os.pidfd_open(pid)
    try:
        how = _collect(exited, collected, errors, until, end)
        if how != ENDED:
            kill(pid, _signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    finally:
        for descriptor in (exited, output, errors):
            os.close(descriptor)
    code = os.waitstatus_to_exitcode(status)
    return how, code, bytes(collected[output]), bytes(collected[errors])


def _collect(
    exited: int, collected: dict[int, bytearray], errors: int, until: tuple[bytes, ...], end: float
) -> str:
    """Collect output until the child exits, or is to be killed.

    The child's exit counts, not the end of its pipes: a grandchild may keep them open forever.
    """
    poll = select.poll()
    for descriptor in (exited, *collected):
        poll.register(descriptor, select.POLLIN)
    finished = False
    while True:
        left = 0.0 if finished else max(0.0, end - time.monotonic())
        ready = [descriptor for descriptor, _ in poll.poll(left * 1000)]
        if not ready:
            return ENDED if finished else LATE
        for descriptor in ready:
            if descriptor == exited:
                finished = True
                poll.unregister(exited)
                continue
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                poll.unregister(descriptor)
            elif len(collected[descriptor]) < OUTPUT_LIMIT:
                collected[descriptor] += chunk
        if until and any(each in collected[errors] for each in until):
            return REACHED
