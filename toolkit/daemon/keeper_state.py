"""Become the keeper, and keep across both execs all that the daemon has to remember.

The lock's descriptor, the blocked signals and the PID survive an exec. The rest is one environment
variable, which the keeper passes on unread.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from toolkit import logs
from toolkit.daemon import keeper
from toolkit.host.lock import Lock
from toolkit.payload.cdi import SpecState

QUICK_REPAIRS = 3
"""This many repairs in a row start at once; after that each waits twice as long as the last."""
LONGEST_REST = 600.0
"""Seconds."""
STATE_VARIABLE = "NVIDIA_TOOLKIT_RESIDENT"
WOKEN_VARIABLE = "NVIDIA_TOOLKIT_WOKEN"
FEATURE_VARIABLE = "NVIDIA_TOOLKIT_FEATURE_FILE"
"""As ``KeeperArguments`` reads it."""
START_VARIABLE = "NVIDIA_TOOLKIT_START"
"""The number of the program's arguments, and a line for each directory of its modules."""
AWAY = "cannot restart the installer (REASON); retrying"
STUCK = (
    "cannot start the installer to revert (REASON); the engine's config still holds the "
    "handlers, start the program again to take over or run its command `revert`"
)


class Counters(Struct, frozen=True, kw_only=True):
    """The values of ``/metrics``; times in seconds."""

    setup_seconds: float = 0.0
    downtime_seconds: float = 0.0
    """The engine's downtime in the last reload."""
    reloads: int = 0
    repairs: int = 0
    rollbacks: int = 0
    cdi_specs: int = 0
    """How often the CDI spec was replaced, made or removed since the start."""


class Resident(Struct, frozen=True, kw_only=True):
    """What the daemon remembers while the keeper runs."""

    lock_fd: int
    lock_path: str
    lock_made: tuple[str, ...]
    peer: str
    """The PID that listened on the engine's socket when the handlers were verified, or ``-``."""
    counters: Counters = Counters()
    attempts: int = 0
    """Repairs in a row, for the back-off."""
    last_repair: float = 0.0
    """A reading of the monotonic clock."""
    not_before: float = 0.0
    """No further repair before this reading of the monotonic clock."""
    failures: int = 0
    """Failed repairs in a row."""
    retry_at: float | None = None
    """When to retry a failed repair, on the same clock."""
    unverified: str = ""
    """Why the engine's part is not marked ready; empty: it was verified."""
    cdi_fault: str = ""
    """The last logged fault of the CDI spec."""
    cdi_failures: int = 0
    """Failures in a row: each retry waits longer."""
    known: tuple[tuple[str, str], ...] = ()
    """The engine's files that were found right, each with its signature from then."""
    listener_fd: int = -1
    journal_fd: int = -1
    """The descriptor of the journal's copy in memory."""
    pid: int = 0
    install_dir: str = ""
    """On the host; by it a successor knows whether the journal is its own."""
    woken: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Resident | None:
        """Return the state from before the exec, or None at a first start."""
        text = environment.get(STATE_VARIABLE)
        if text is None:
            return None
        # Fields that this version does not know are skipped: an upgrade may come between the execs.
        found = msgspec.json.decode(text, type=cls)
        if found.pid != os.getpid():
            # Another process's copy of our environment.
            return None
        return replace(found, woken=environment.get(WOKEN_VARIABLE, ""))

    def after_set_up(self, seconds: float, downtime: float | None) -> Resident:
        """Count a setup that succeeded; without a downtime there was no reload."""
        counters = replace(self.counters, setup_seconds=seconds)
        if downtime is not None:
            reloads = counters.reloads + 1
            counters = replace(counters, reloads=reloads, downtime_seconds=downtime)
        return replace(self, counters=counters)

    def after_repair(self, moment: float, interval: float) -> Resident:
        """Wait longer after each repair in a row: another program may keep changing the file."""
        quiet = moment - max(self.last_repair, self.not_before) > LONGEST_REST
        attempts = 1 if quiet else self.attempts + 1
        rest = _rest(attempts - QUICK_REPAIRS, interval)
        counters = replace(self.counters, repairs=self.counters.repairs + 1)
        return replace(
            self.settled(),
            attempts=attempts,
            last_repair=moment,
            not_before=moment + rest,
            counters=counters,
        )

    def after_failure(self, moment: float, interval: float, *, undone: bool) -> Resident:
        """Plan a retry, each later than the last; early changes meanwhile start a repair at once.

        ``undone``: the repair had begun to change the host, and was undone.
        """
        failures = self.failures + 1
        not_before = moment + _rest(failures - QUICK_REPAIRS, interval)
        counters = replace(self.counters, rollbacks=self.counters.rollbacks + undone)
        retry_at = moment + _rest(failures, interval)
        return replace(
            self,
            failures=failures,
            retry_at=retry_at,
            not_before=max(self.not_before, not_before),
            counters=counters,
        )

    def after_following(self, state: SpecState) -> Resident:
        """Count a new CDI spec, and its failures in a row."""
        specs = self.counters.cdi_specs + state.changed
        return replace(
            self,
            cdi_fault=state.lack or state.failure,
            cdi_failures=self.cdi_failures + 1 if state.failure else 0,
            counters=replace(self.counters, cdi_specs=specs),
        )

    def cdi_retry(self, interval: float) -> float:
        """Return the seconds until the next run of ``nvidia-ctk``; 0 where none failed."""
        return _rest(self.cdi_failures, interval)

    def settled(self) -> Resident:
        """Return the same state without a retry."""
        return replace(self, failures=0, retry_at=None)

    def text(self) -> str:
        """Return the variable's value."""
        return msgspec.json.encode(replace(self, pid=os.getpid(), woken="")).decode()


def install_dir_of(pid: int, proc: str = "/proc") -> str | None:
    """Return the install directory of a resident daemon; None for any other process.

    The environment of a resident process keeps what went through the execs.
    """
    try:
        with open(f"{proc}/{pid}/environ", "rb") as file:
            variables = dict(each.partition(b"=")[::2] for each in file.read().split(b"\0"))
        found = msgspec.json.decode(variables[STATE_VARIABLE.encode()], type=Resident)
    except (OSError, KeyError, msgspec.MsgspecError):
        return None
    # Another PID: a copy of the environment.
    return found.install_dir if found.pid == pid else None


def _rest(steps: int, interval: float) -> float:
    """Return the seconds to wait before the next try; 0 for the first tries."""
    return 0.0 if steps <= 0 else min(LONGEST_REST, max(interval, 1.0) * 2.0 ** min(steps, 16))


def forget() -> None:
    """Remove the variables, so that the engine's and our own children do not get them."""
    os.environ.pop(STATE_VARIABLE, None)
    os.environ.pop(WOKEN_VARIABLE, None)
    os.environ.pop(FEATURE_VARIABLE, None)
    os.environ.pop(START_VARIABLE, None)


class Watch(Struct, frozen=True, kw_only=True):
    """What the keeper watches; paths as this process opens them."""

    interval: float
    rest: float
    """Seconds in which a difference only removes the ready file and is not repaired yet."""
    ready: bool
    """Whether the engine is marked ready; otherwise the ready file means nothing."""
    ready_file: str
    socket: str
    """Empty: no engine is watched."""
    files: tuple[tuple[str, str], ...]
    """Each path with its signature from when its content was known to be right."""
    greeting: bytes = b""
    """The bytes that make the engine answer."""
    feature_file: str = ""
    """The file that labels the node while it is ready; empty without a label."""
    retry: float = -1.0
    """Seconds until a failed repair is tried again; negative without one."""
    answers: tuple[str, str, str, str, str] = ("", "", "", "", "")


def arguments(resident: Resident, watch: Watch, command: Sequence[str]) -> list[str]:
    """Return what ``KeeperArguments`` reads; ``command`` is what the keeper execs back into."""
    watched = [part for file in watch.files for part in file]
    return [
        str(watch.interval),
        str(watch.rest),
        str(watch.retry),
        str(resident.listener_fd),
        "ready" if watch.ready else "",
        watch.ready_file,
        watch.socket,
        resident.peer,
        watch.greeting.hex(),
        logs.template("program.away", AWAY),
        logs.template("program.stuck", STUCK),
        *watch.answers,
        str(len(watched)),
        *watched,
        *command,
    ]


def become_idle(
    resident: Resident,
    lock: Lock,
    watch: Watch,
    command: Sequence[str],
    program: Sequence[str] = (keeper.SCRIPT,),
) -> None:
    """Exec into the keeper; ``command`` is what the keeper execs back into. Does not return.

    ``program`` is what runs in its place and reads the keeper's arguments after its own.
    """
    for descriptor in (lock.fd, resident.listener_fd, resident.journal_fd):
        if descriptor >= 0:
            os.set_inheritable(descriptor, True)  # noqa: FBT003 - takes no keyword
    words = [sys.executable, "-I", "-S", *program, *arguments(resident, watch, command)]
    environment = {**os.environ, STATE_VARIABLE: resident.text()}
    environment[FEATURE_VARIABLE] = watch.feature_file
    environment[START_VARIABLE] = "\n".join((str(len(sys.argv) - 1), *filter(None, sys.path)))
    environment.pop(WOKEN_VARIABLE, None)
    for stream in (sys.stdout, sys.stderr):
        # A log that nobody reads any more, or a full disk behind it, must not end this process.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os.execve(sys.executable, words, environment)  # noqa: S606 - no shell is wanted


def own_command() -> tuple[str, ...]:
    """Return the command that started this process, for exec."""
    return (sys.executable, *sys.orig_argv[1:])
