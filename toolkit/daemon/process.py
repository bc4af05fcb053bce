"""The daemon and `revert` as commands, and the daemon's first start.

A setup and a revert each load their own half of the program when they begin.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Self

from msgspec.structs import replace

from toolkit import logs
from toolkit.daemon import handover, keeper_state
from toolkit.daemon.keeper_state import Handover, Resident, Watch
from toolkit.daemon.life import Daemon
from toolkit.daemon.lock_and_ready import Presence, require_places
from toolkit.errors import ExitCode, ToolkitError, signal_behind
from toolkit.host.clock import Clock, SystemClock
from toolkit.host.signals import block_signals
from toolkit.journal.record import Record
from toolkit.node import Node, open_node
from toolkit.payload.records import PayloadRecord
from toolkit.settings import Settings
from toolkit.undo.recovery import recover

if TYPE_CHECKING:
    from toolkit.apply.begin import Outcome
    from toolkit.undo.engine import GoBackReport

log = logs.get(__name__)


def load_all() -> None:
    """Load all that a worker needs before it acts: an upgrade may replace the program's files."""
    from toolkit.daemon import resumed, stop_reason  # noqa: F401
    from toolkit.journal import memory_copy  # noqa: F401
    from toolkit.undo import revert  # noqa: F401

    descriptor = handover.descriptor_of(os.environ[handover.VARIABLE])
    if descriptor < 0 or handover.read(descriptor)["woken"] != handover.SIGNAL:
        from toolkit.apply import check, served, setup, transaction  # noqa: F401
        from toolkit.daemon import watch  # noqa: F401


def run(settings: Settings) -> ExitCode:
    """Set up, wait, revert. Returns only after the revert or with ``--no-daemon``."""
    block_signals()
    record = keeper_state.taken_over(os.environ)
    node = open_node(settings)
    if record is not None:
        from toolkit.daemon.resumed import ResumedDaemon

        return ResumedDaemon.locked(node, SystemClock(), record).go_on()
    return FirstDaemon.locked(node, SystemClock()).start()


def revert(settings: Settings, *, purge: bool) -> GoBackReport | None:
    """Undo every change in the journal; None where there is none.

    Raises LockedError while a daemon runs.
    """
    block_signals()
    node = open_node(settings)
    presence = Presence.begun(node)
    try:
        presence.mark_not_ready()
        record = recover(node, reverts=True)
        if record is None:
            from toolkit.undo.ownership import named_again

            record = named_again(node)
        presence.know(record)
        from toolkit.undo.revert import revert_record

        return None if record is None else revert_record(node, record, purge=purge)
    finally:
        presence.release()


class FirstDaemon(Daemon):
    """A process that was never idle."""

    @classmethod
    def locked(cls, node: Node, clock: Clock) -> Self:
        """Take the lock. Raises LockedError where another instance has it and keeps it."""
        life = node.settings.lifecycle
        taken = Presence.begun(node) if life.no_daemon else None
        presence = taken or Presence.after_predecessor(node, clock)
        listener = -1
        if life.health_address is not None:
            from toolkit.daemon.health import open_listener

            try:
                listener = open_listener(life.health_address, life.health_source)
            except ToolkitError:
                presence.unlock()
                raise
        lock = presence.lock
        resident = Resident(
            lock_fd=lock.fd, lock_path=lock.path, lock_made=lock.made, listener_fd=listener
        )
        return cls(node, clock, presence, Handover(resident=resident, watch=Watch()))

    def start(self) -> ExitCode:
        """Set up; then become idle, or stop with ``--no-daemon``."""
        from toolkit.apply.setup import set_up
        from toolkit.daemon.drift import signatures

        began = time.monotonic()
        self._begin()
        try:
            require_places(self._node)
            self._presence.mark_not_ready()
            record = self._recovered()
            earlier = signatures(self._node, record)
            patience = self._life.verify_timeout
            outcome = set_up(self._node, self._clock, patience=patience)
            self._cdi_settled()
            outcome = replace(outcome, record=self._ready_or_reverted(outcome, record))
        except BaseException as error:
            taken = signal_behind(error)
            try:
                # What an earlier process left in force is undone with an interrupted setup.
                if taken is not None and self._reverts():
                    self._revert()
            finally:
                self._presence.release()
            if taken in (None, error):
                raise
            raise taken from error
        seconds = time.monotonic() - began
        self._resident = self._resident.after_set_up(seconds, outcome.reload)
        if self._life.no_daemon:
            log.step("daemon.done", "set up; not staying", seconds=seconds)
            self._presence.unlock()
            return ExitCode.DONE
        if not self._node.installer.cdi.state.lack:
            log.step("daemon.ready", "ready", seconds=seconds)
        return self._become_idle_after(outcome, earlier)

    def _ready_or_reverted(self, outcome: Outcome, earlier: Record | None) -> Record:
        """Revert a setup that cannot be marked ready: a failed start leaves nothing.

        Of a first setup without an engine no container has the payload yet.
        """
        try:
            return self._mark_ready(outcome.record)
        except ToolkitError as error:
            log.warning("setup.undoing", "undoing the setup", reason=str(error))
            payload = PayloadRecord.from_json(outcome.record.payload or {})
            first = earlier is None and payload.previous is None
            self._revert(purge=first and outcome.process is None)
            raise
