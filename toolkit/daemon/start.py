"""The first start of the process: take the lock and set up."""

from __future__ import annotations

import time
from typing import Self

from msgspec.structs import replace

from toolkit import logs
from toolkit.apply.setup import set_up
from toolkit.daemon.drift import signatures
from toolkit.daemon.keeper_state import Resident
from toolkit.daemon.life import Daemon
from toolkit.daemon.lock_and_ready import Presence, require_places
from toolkit.errors import ExitCode, ToolkitError, signal_behind
from toolkit.host.clock import Clock
from toolkit.journal.record import Record
from toolkit.node import Node

log = logs.get(__name__)


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
        return cls(node=node, clock=clock, presence=presence, resident=resident)

    def start(self) -> ExitCode:
        """Set up; then become idle, or stop with ``--no-daemon``."""
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
            outcome = replace(outcome, record=self._ready_or_reverted(outcome.record))
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
        self._resident = self._resident.after_set_up(seconds, outcome.refused)
        if self._life.no_daemon:
            log.step("daemon.done", "set up; not staying", seconds=seconds)
            self._presence.unlock()
            return ExitCode.DONE
        if not self._node.installer.cdi.state.lack:
            log.step("daemon.ready", "ready", seconds=seconds)
        return self._become_idle_after(outcome, earlier)

    def _ready_or_reverted(self, record: Record) -> Record:
        """Revert a setup that cannot be marked ready: a failed start leaves nothing."""
        try:
            return self._mark_ready(record)
        except ToolkitError as error:
            log.warning("setup.undoing", "undoing the setup", reason=str(error))
            self._revert()
            raise
