"""Become the idle process, and come back from it with all that has to be remembered.

The lock's descriptor, the blocked signals and the PID go through both execs by themselves; the
rest is one environment variable, which the idle process passes on unread.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from toolkit import idle
from toolkit.host.lock import Lock

STATE_VARIABLE = "NVIDIA_TOOLKIT_RESIDENT"
WOKEN_VARIABLE = "NVIDIA_TOOLKIT_WOKEN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What ``/metrics`` tells; times in seconds."""

    setup_seconds: float = 0.0
    downtime_seconds: float = 0.0
    """The engine's, in the last reload."""
    reloads: int = 0
    repairs: int = 0
    rollbacks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """What is remembered across the idle process."""

    lock_fd: int
    lock_path: str
    lock_made: tuple[str, ...]
    peer: str
    """The PID that listened on the engine's socket when the handlers were verified, or ``-``."""
    counters: Counters = Counters()
    attempts: int = 0
    """Repairs in a row, for the back-off."""
    last_repair: float = 0.0
    """Reading of the monotonic clock."""
    not_before: float = 0.0
    """No further repair before this reading of the monotonic clock."""
    listener_fd: int = -1
    woken: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Resident | None:
        """Return what an earlier life of this process left, or None at a first start."""
        text = environment.get(STATE_VARIABLE)
        if text is None:
            return None
        document = json.loads(text)
        counters = Counters(**document.pop("counters"))
        document["lock_made"] = tuple(document["lock_made"])
        woken = environment.get(WOKEN_VARIABLE, "")
        resident = cls(**document, counters=counters)
        return replace(resident, woken=woken)

    def text(self) -> str:
        """Return the variable's value."""
        document = asdict(self)
        del document["woken"]
        return json.dumps(document)


def forget() -> None:
    """Keep the variables from the engine's and our own children."""
    os.environ.pop(STATE_VARIABLE, None)
    os.environ.pop(WOKEN_VARIABLE, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What the idle process looks at; paths as this process opens them."""

    interval: float
    rest: float
    """Seconds in which a difference is told by the ready file's absence and not yet repaired."""
    ready_file: str
    socket: str
    """Empty: no engine is watched."""
    files: tuple[str, ...]
    answers: tuple[str, str, str, str, str] = ("", "", "", "", "")


def become_idle(
    resident: Resident,
    lock: Lock,
    watch: Watch,
    command: Sequence[str],
    program: Sequence[str] = (idle.__file__,),
) -> None:
    """Exec into the idle process; ``command`` is what it execs back into. Does not return.

    ``program`` is what is run in its place and understands its arguments after its own ones.
    """
    os.set_inheritable(lock.fd, True)  # noqa: FBT003 - takes no keyword
    if resident.listener_fd >= 0:
        os.set_inheritable(resident.listener_fd, True)  # noqa: FBT003 - the same
    watched = [part for path in watch.files for part in (path, idle.signature(path))]
    arguments = [
        sys.executable,
        "-I",
        "-S",
        *program,
        str(watch.interval),
        str(watch.rest),
        str(resident.listener_fd),
        watch.ready_file,
        watch.socket,
        resident.peer,
        *watch.answers,
        str(len(watched)),
        *watched,
        *command,
    ]
    environment = {**os.environ, STATE_VARIABLE: resident.text()}
    environment.pop(WOKEN_VARIABLE, None)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, arguments, environment)  # noqa: S606 - no shell is wanted


def own_command() -> tuple[str, ...]:
    """Return how this process was started, for exec."""
    return (sys.executable, *sys.orig_argv[1:])
