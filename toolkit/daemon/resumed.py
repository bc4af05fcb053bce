"""Each return from the keeper: repair what differs, make the CDI spec again, or stop."""

from __future__ import annotations

import os
import time
from typing import NoReturn, Self

from msgspec.structs import replace

from toolkit import logs
from toolkit.daemon import handover, observe
from toolkit.daemon.keeper_state import Handover
from toolkit.daemon.life import Daemon
from toolkit.daemon.lock_and_ready import Presence
from toolkit.errors import ExitCode, InterruptedBySignalError, ToolkitError, signal_behind
from toolkit.host.clock import Clock
from toolkit.node import Node
from toolkit.payload.cdi import SpecState

log = logs.get(__name__)


class ResumedDaemon(Daemon):
    """A process that the keeper has become."""

    @classmethod
    def locked(cls, node: Node, clock: Clock, last: Handover) -> Self:
        """Go on where the keeper stopped.

        Raises LockedError where the pid file was removed and another instance took over.
        """
        resident = last.resident
        for descriptor in (resident.listener_fd, resident.journal_fd):
            if descriptor >= 0:
                os.set_inheritable(descriptor, False)  # noqa: FBT003 - takes no keyword
        presence = Presence.resumed(node, resident)
        lock = presence.lock
        resident = replace(resident, lock_fd=lock.fd, lock_made=lock.made)
        return cls(node, clock, presence, replace(last, resident=resident))

    def go_on(self) -> ExitCode:
        """Revert where a signal is pending; otherwise find what differs and repair it."""
        self._begin()
        try:
            self._clock.check()
            if self._last.woken.startswith(handover.DRIVER):
                return self._follow()
            return self._repair()
        except InterruptedBySignalError as signal:
            log.step("daemon.stopping", "stopping", signal=signal.signal_name)
            return self._stop()

    def _repair(self) -> NoReturn:
        """Run the same setup as at a start: it changes what differs. Try later if it fails."""
        from toolkit.apply.setup import set_up
        from toolkit.daemon.drift import signatures
        from toolkit.journal import memory_copy

        began = time.monotonic()
        log.step("drift.seen", "something differs from what was set up", what=self._last.woken)
        try:
            self._presence.hide()
            memory_copy.restore(self._node.store, self._resident.journal_fd)
            record = self._recovered()
            earlier = signatures(self._node, record)
            outcome = set_up(
                self._node,
                self._clock,
                patience=0.0,
                repair=True,
                verified=self._resident.verified_process,
            )
            self._cdi_settled()
            outcome = replace(outcome, record=self._mark_ready(outcome.record))
        except Exception as error:
            taken = signal_behind(error)
            if taken is error:
                raise
            if taken is not None:
                raise taken from error
            self._give_up_for_now(error)
        seconds = time.monotonic() - began
        self._resident = self._resident.after_set_up(seconds, outcome.reload)
        if outcome.changed:
            self._resident = self._resident.after_repair(began, self._life.reconcile_interval)
            log.step("drift.repaired", "repaired", seconds=seconds)
        else:
            self._resident = self._resident.settled()
            log.step("drift.none", "nothing differs", seconds=seconds)
        self._become_idle_after(outcome, earlier)

    def _follow(self) -> NoReturn:
        """Make the CDI spec again; the engine reads specs by itself, so it is not asked."""
        from toolkit.daemon import watch

        took = logs.stopwatch()
        what = self._last.woken.partition(": ")[2]
        log.step("cdi.following", "the CDI spec is compared with the driver", what=what)
        self._presence.hide()
        try:
            record = self._node.store.load()
            self._node.installer.cdi.follow(self._clock)
        except ToolkitError as error:
            if signal_behind(error) is error:
                raise
            failed = SpecState(failure=error.message)
            self._resident = self._resident.after_following(failed)
            self._give_up_for_now(error)
        self._cdi_settled()
        if record is None or watch.peer(self._node, record) != self._last.watch.peer:
            self._repair()
        verified = not self._resident.why_not_ready
        if verified:
            try:
                record = self._mark_ready(record)
            except ToolkitError as error:
                self._give_up_for_now(error)
        log.step("cdi.followed", "followed the driver", seconds=took())
        self._become_idle(
            record,
            self._last.watch.peer,
            earlier=dict(self._last.watch.files) if verified else None,
            why_not_ready=self._resident.why_not_ready,
        )

    def _give_up_for_now(self, error: Exception) -> NoReturn:
        """Stay, not ready, and try again later: without this process nothing would fix the node."""
        from toolkit.daemon import watch

        known = isinstance(error, ToolkitError)
        message = str(error) if known else f"unexpected {type(error).__name__}: {error}"
        logs.traceback_of(error)
        try:
            record = self._node.store.load()
        except ToolkitError:
            record = None
        peer = watch.peer(self._node, record)
        if watch.socket(self._node, record) and peer in (observe.DOWN, observe.MUTE):
            # The keeper sees when the engine answers again; no retry is useful before that.
            self._resident = self._resident.settled()
            log.error("drift.unrepaired", message, again="when the engine answers")
        else:
            interval = self._life.reconcile_interval
            undone = isinstance(error, ToolkitError) and error.undone
            self._resident = self._resident.after_failure(time.monotonic(), interval, undone=undone)
            wait = (self._resident.retry_at or 0.0) - time.monotonic()
            log.error("drift.unrepaired", message, again_in_seconds=max(0.0, wait))
        self._become_idle(record, peer, earlier=None, why_not_ready=message)

    def _stop(self) -> ExitCode:
        """Revert the setup or keep it, by ``--on-exit`` or the reason for the stop."""
        took = logs.stopwatch()
        try:
            self._presence.hide()
            if not self._reverts():
                log.step("daemon.kept", "stopped; the setup stays", seconds=took())
                return ExitCode.DONE
            report = self._revert()
            if report is not None and report.payload == "kept":
                message = "stopped; the engine is as it was before, the toolkit's files stay"
                log.warning("daemon.stopped", message, used_by=list(report.kept_for))
            elif report is None or report.seen:
                log.step("daemon.stopped", "stopped; the host is as it was before", seconds=took())
            else:
                message = "stopped; files are as before, the engine has not been seen since"
                log.warning("daemon.stopped", message, seconds=took())
        finally:
            if self._responder is not None:
                self._responder.end()
            self._presence.release()
        return ExitCode.DONE
