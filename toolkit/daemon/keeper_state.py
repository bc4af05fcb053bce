"""Become the keeper, and keep across both execs all that the daemon has to remember.

The lock's descriptor, the blocked signals and the PID survive an exec. The rest is the record of
``toolkit.daemon.handover``: a ``Resident``, which the keeper does not read, and a ``Watch``.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import MutableMapping
from typing import Any, NoReturn

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from toolkit.daemon import handover, observe
from toolkit.engine.facts import ReloadReport
from toolkit.payload.cdi import SpecState

QUICK_REPAIRS = 3
"""This many repairs in a row start at once; after that each waits twice as long as the last."""
LONGEST_REST = 600.0
"""Seconds."""
STAY = os.path.join(os.path.dirname(__file__), "stay.py")
"""The program that stays resident."""
_VARIABLES_OF_EARLIER_VERSION = (
    "NVIDIA_TOOLKIT_WOKEN",
    "NVIDIA_TOOLKIT_FEATURE_FILE",
    "NVIDIA_TOOLKIT_START",
)
"""What 0.1.0 passed on beside the record; the first one says why its keeper became the daemon."""


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
    verified_process: tuple[int, int] | None = None
    """The PID and start time of the engine's process that was last seen to serve all."""
    why_not_ready: str = ""
    """Why the engine's part is not marked ready; empty: it was verified."""
    cdi_fault: str = ""
    """The last logged fault of the CDI spec."""
    cdi_failures: int = 0
    """Failures in a row: each retry waits longer."""
    listener_fd: int = -1
    journal_fd: int = -1
    """The descriptor of the journal's copy in memory."""

    def after_set_up(self, seconds: float, reload: ReloadReport | None) -> Resident:
        """Count a setup that succeeded, and its reload."""
        counters = replace(self.counters, setup_seconds=seconds)
        if reload is not None:
            counters = replace(
                counters, reloads=counters.reloads + 1, downtime_seconds=reload.refused
            )
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


def _rest(steps: int, interval: float) -> float:
    """Return the seconds to wait before the next try; 0 for the first tries."""
    return 0.0 if steps <= 0 else min(LONGEST_REST, max(interval, 1.0) * 2.0 ** min(steps, 16))


class Watch(Struct, frozen=True, kw_only=True):
    """What the keeper watches, answers and runs afterwards; paths as this process opens them."""

    interval: float = 0.0
    rest: float = 0.0
    """Seconds in which a difference only removes the ready file and is not repaired yet."""
    retry: float = -1.0
    """Seconds until a failed repair is tried again; negative without one."""
    ready: bool = False
    """Whether the node is marked ready; in NRI mode, whether the plugin may mark it."""
    ready_file: str = ""
    feature_file: str = ""
    """The file that labels the node while it is ready; empty without a label."""
    socket: str = ""
    """Empty: no engine is watched."""
    peer: str = observe.DOWN
    """The PID that listened on the socket when the handlers were verified, or ``-``."""
    greeting: bytes = b""
    """The bytes that make the engine answer."""
    files: tuple[tuple[str, str], ...] = ()
    """Each path with its signature from when its content was known to be right."""
    programs: tuple[tuple[str, str], ...] = ()
    """The binaries that the engine executes, each with its ``executable_signature``."""
    followed: tuple[tuple[str, str], ...] = ()
    """What the CDI spec depends on, as ``toolkit.host.followed.Followed`` takes it."""
    listener_fd: int = -1
    """For probes; -1: there are none."""
    answers: tuple[str, str, str, str, str] = ("", "", "", "", "")
    """As ``toolkit.daemon.probes.Probes`` takes them."""
    away: str = ""
    stuck: str = ""
    """The log lines that only the keeper writes, for ``handover.tell``."""
    command: tuple[str, ...] = ()
    """What the keeper executes to become the daemon again."""
    arguments: tuple[str, ...] = ()
    """``sys.argv`` of that command."""
    search_path: tuple[str, ...] = ()
    """``sys.path`` of that command."""
    nri: dict[str, Any] | None = None
    """The settings of the NRI plugin; None in the other modes."""


class Handover(Struct, frozen=True, kw_only=True):
    """The whole record."""

    resident: Resident
    watch: Watch
    woken: str = ""
    """Why the keeper became the daemon."""


def taken_over(environment: MutableMapping[str, str]) -> Handover | None:
    """Return the record from before the exec, or None at a first start.

    Removes it, so that the engine's and our own children do not get it.
    """
    value = environment.pop(handover.VARIABLE, "")
    earlier = handover.earlier_record(value)
    if earlier is not None:
        return _of_earlier_version(earlier, environment)
    descriptor = handover.descriptor_of(value)
    if descriptor < 0:
        return None
    record = handover.read(descriptor)
    os.close(descriptor)
    # Fields that this version does not know are skipped: an upgrade may come between the execs.
    return msgspec.convert(record, Handover)


def _of_earlier_version(
    found: dict[str, Any], environment: MutableMapping[str, str]
) -> Handover | None:
    """Return what a keeper of 0.1.0 passed on, where an upgrade came while it was resident."""
    woken, *_ = [environment.pop(each, "") for each in _VARIABLES_OF_EARLIER_VERSION]
    if found.get("pid") != os.getpid():
        return None
    found["why_not_ready"] = found.get("unverified", "")
    watch = {"peer": found.get("peer", observe.DOWN), "files": found.get("known", ())}
    return msgspec.convert({"resident": found, "watch": watch, "woken": woken}, Handover)


def become_idle(record: Handover, install_dir: str) -> NoReturn:
    """Exec into the keeper."""
    resident = record.resident
    for inherited in (resident.lock_fd, resident.listener_fd, resident.journal_fd):
        if inherited >= 0:
            os.set_inheritable(inherited, True)  # noqa: FBT003 - takes no keyword
    descriptor = handover.write(msgspec.to_builtins(record, builtin_types=(bytes,)))
    named = f"{os.getpid()}:{descriptor}:{install_dir}"
    for stream in (sys.stdout, sys.stderr):
        # A log that nobody reads any more, or a full disk behind it, must not end this process.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    words = [sys.executable, "-I", "-S", STAY]
    os.execve(sys.executable, words, {**os.environ, handover.VARIABLE: named})  # noqa: S606 - no shell is wanted
