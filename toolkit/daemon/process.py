"""The life of the process: set up, become idle, repair, revert.

starting > installing > configuring > reloading > verifying > ready > reverting > stopped | failed

A setup and a revert each load their own half of the program when they begin.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from toolkit import logs
from toolkit.daemon import keeper, keeper_state
from toolkit.daemon.keeper_state import WOKEN_VARIABLE, Resident
from toolkit.daemon.lock_and_ready import Presence, require_places
from toolkit.engine import loading
from toolkit.errors import (
    ExitCode,
    InterruptedBySignalError,
    NotRestoredError,
    ToolkitError,
    signal_behind,
)
from toolkit.host.clock import Clock, SystemClock
from toolkit.host.signals import block_signals
from toolkit.journal.record import Record
from toolkit.node import Node, open_node
from toolkit.payload.cdi import SpecState
from toolkit.settings import RestartMode, Settings
from toolkit.undo.recovery import recover

if TYPE_CHECKING:
    from toolkit.apply.begin import Outcome
    from toolkit.daemon.health import Responder
    from toolkit.undo.engine import GoBackReport

log = logs.get(__name__)


def load_all(environment: Mapping[str, str]) -> None:
    """Load all that a worker needs before it acts: an upgrade may replace the program's files."""
    from toolkit.daemon import stop_reason  # noqa: F401
    from toolkit.journal import memory_copy  # noqa: F401
    from toolkit.undo import revert  # noqa: F401

    if environment.get(WOKEN_VARIABLE) != keeper.SIGNAL:
        from toolkit.apply import check, served, setup, transaction  # noqa: F401
        from toolkit.daemon import handover  # noqa: F401


def run(settings: Settings) -> ExitCode:
    """Set up, wait, revert. Returns only after the revert or with ``--no-daemon``."""
    block_signals()
    resident = Resident.from_environment(os.environ)
    keeper_state.forget()
    node = open_node(settings)
    if resident is not None:
        return Daemon.resumed(node, SystemClock(), resident).go_on()
    return Daemon.started(node, SystemClock()).start()


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


class Daemon:
    """One process that holds the lock."""

    def __init__(self, *, node: Node, clock: Clock, presence: Presence, resident: Resident) -> None:
        self._node = node
        self._clock = clock
        self._presence = presence
        self._resident = resident
        self._life = node.settings.lifecycle

    @classmethod
    def started(cls, node: Node, clock: Clock) -> Daemon:
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
            lock_fd=lock.fd,
            lock_path=lock.path,
            lock_made=lock.made,
            peer=keeper.DOWN,
            listener_fd=listener,
            install_dir=node.store.install_dir,
        )
        return cls(node=node, clock=clock, presence=presence, resident=resident)

    @classmethod
    def resumed(cls, node: Node, clock: Clock, resident: Resident) -> Daemon:
        """Go on where the keeper stopped.

        Raises LockedError where the pid file was removed and another instance took over.
        """
        for descriptor in (resident.listener_fd, resident.journal_fd):
            if descriptor >= 0:
                os.set_inheritable(descriptor, False)  # noqa: FBT003 - takes no keyword
        presence = Presence.resumed(node, resident)
        lock = presence.lock
        resident = replace(resident, lock_fd=lock.fd, lock_made=lock.made)
        return cls(node=node, clock=clock, presence=presence, resident=resident)

    def start(self) -> ExitCode:
        """Set up; then become idle, or stop with ``--no-daemon``."""
        from toolkit.apply.setup import set_up
        from toolkit.daemon.drift import signatures

        began = time.monotonic()
        self._begin_loading()
        responder = self._respond()
        try:
            require_places(self._node)
            self._presence.mark_not_ready()
            record = self._recovered()
            earlier = signatures(self._node, record)
            patience = self._life.verify_timeout
            outcome = set_up(self._node, self._clock, patience=patience)
            self._cdi_settled()
            outcome = self._ready_or_reverted(outcome)
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
        self._become_idle_after(outcome, responder, earlier)
        return ExitCode.DONE

    def go_on(self) -> ExitCode:
        """Revert where a signal is pending; otherwise find what differs and repair it."""
        self._begin_loading()
        responder = self._respond()
        try:
            self._clock.check()
            if self._resident.woken.startswith(keeper.DRIVER):
                self._follow(responder)
            else:
                self._repair(responder)
        except InterruptedBySignalError as signal:
            log.step("daemon.stopping", "stopping", signal=signal.signal_name)
            return self._stop(responder)
        return ExitCode.DONE

    def _begin_loading(self) -> None:
        """Load the gRPC code in the background, where an engine will be asked."""
        settings = self._node.settings
        if settings.nri.enabled or settings.lifecycle.no_runtime_config:
            return
        engine = settings.runtime
        if engine is None:
            with contextlib.suppress(ToolkitError):
                record = self._node.store.load()
                engine = None if record is None else record.engine
        if engine is not None and settings.engines[engine].restart_mode is not RestartMode.NONE:
            loading.begin(engine)

    def _repair(self, responder: Responder | None) -> None:
        """Run the same setup as at a start: it changes what differs. Try later if it fails."""
        from toolkit.apply.setup import set_up
        from toolkit.daemon.drift import signatures
        from toolkit.journal import memory_copy

        began = time.monotonic()
        log.step("drift.seen", "something differs from what was set up", what=self._resident.woken)
        try:
            self._presence.hide()
            memory_copy.restore(self._node.store, self._resident.journal_fd)
            record = self._recovered()
            earlier = signatures(self._node, record)
            outcome = set_up(self._node, self._clock, patience=0.0, repair=True)
            self._cdi_settled()
            outcome = replace(outcome, record=self._mark_ready(outcome.record))
        except Exception as error:
            taken = signal_behind(error)
            if taken is error:
                raise
            if taken is not None:
                raise taken from error
            self._give_up_for_now(error, responder)
            return
        seconds = time.monotonic() - began
        self._resident = self._resident.after_set_up(seconds, outcome.refused)
        if outcome.changed:
            self._resident = self._resident.after_repair(began, self._life.reconcile_interval)
            log.step("drift.repaired", "repaired", seconds=seconds)
        else:
            self._resident = self._resident.settled()
            log.step("drift.none", "nothing differs", seconds=seconds)
        self._become_idle_after(outcome, responder, earlier)

    def _follow(self, responder: Responder | None) -> None:
        """Make the CDI spec again; the engine reads specs by itself, so it is not asked."""
        from toolkit.daemon import handover

        took = logs.stopwatch()
        what = self._resident.woken.partition(": ")[2]
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
            self._give_up_for_now(error, responder)
            return
        self._cdi_settled()
        if record is None or handover.peer(self._node, record) != self._resident.peer:
            self._repair(responder)
            return
        verified = not self._resident.unverified
        if verified:
            record = self._mark_ready(record)
        log.step("cdi.followed", "followed the driver", seconds=took())
        self._become_idle(
            record,
            self._resident.peer,
            responder,
            earlier=dict(self._resident.known) if verified else None,
            why_not_ready=self._resident.unverified,
        )

    def _cdi_settled(self) -> None:
        """Remember the result for the CDI spec; log a new fault once."""
        state = self._node.installer.cdi.state
        known = self._resident.cdi_fault
        self._resident = self._resident.after_following(state)
        fault = self._resident.cdi_fault
        if fault and fault != known:
            stands = "the CDI spec stays as it is" if not state.lack else "not ready"
            log.warning("cdi.fault", f"{stands}: no right CDI spec can be made", reason=fault)

    def _mark_ready(self, record: Record) -> Record:
        """Create the ready file, unless the CDI spec names files that do not exist."""
        lack = self._node.installer.cdi.state.lack
        return record if lack else self._presence.mark_ready(record)

    def _give_up_for_now(self, error: Exception, responder: Responder | None) -> None:
        """Stay, not ready, and try again later: without this process nothing would fix the node."""
        from toolkit.daemon import handover

        known = isinstance(error, ToolkitError)
        message = str(error) if known else f"unexpected {type(error).__name__}: {error}"
        logs.traceback_of(error)
        try:
            record = self._node.store.load()
        except ToolkitError:
            record = None
        peer = handover.peer(self._node, record)
        if handover.socket(self._node, record) and peer in (keeper.DOWN, keeper.MUTE):
            # The keeper sees when the engine answers again; no retry is useful before that.
            self._resident = self._resident.settled()
            log.error("drift.unrepaired", message, again="when the engine answers")
        else:
            interval = self._life.reconcile_interval
            undone = isinstance(error, ToolkitError) and error.undone
            self._resident = self._resident.after_failure(time.monotonic(), interval, undone=undone)
            wait = (self._resident.retry_at or 0.0) - time.monotonic()
            log.error("drift.unrepaired", message, again_in_seconds=max(0.0, wait))
        self._become_idle(record, peer, responder, earlier=None, why_not_ready=message)

    def _stop(self, responder: Responder | None) -> ExitCode:
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
            if responder is not None:
                responder.end()
            self._presence.release()
        return ExitCode.DONE

    def _reverts(self) -> bool:
        from toolkit.daemon import stop_reason

        return stop_reason.reverts(self._node, os.environ)

    def _recovered(self, *, reverts: bool = False) -> Record | None:
        """Recover from a crash."""
        record = recover(self._node, reverts=reverts)
        self._presence.know(record)
        return record

    def _revert(self) -> GoBackReport | None:
        from toolkit.journal import memory_copy
        from toolkit.undo.revert import revert_record

        try:
            memory_copy.restore(self._node.store, self._resident.journal_fd)
            record = self._recovered(reverts=True)
            return None if record is None else revert_record(self._node, record)
        except NotRestoredError:
            raise
        except ToolkitError as error:
            raise NotRestoredError(
                f"the setup is still in place: {error.message}",
                f"{error.hint or 'fix that'}, then run `revert` or start again",
            ) from error

    def _ready_or_reverted(self, outcome: Outcome) -> Outcome:
        """Revert a setup that cannot be marked ready: a failed start leaves nothing."""
        try:
            return replace(outcome, record=self._mark_ready(outcome.record))
        except ToolkitError as error:
            log.warning("setup.undoing", "undoing the setup", reason=str(error))
            self._revert()
            raise

    def _respond(self) -> Responder | None:
        if self._resident.listener_fd < 0:
            return None
        from toolkit.daemon.health import Responder

        return Responder(self._resident.listener_fd, self._resident.counters)

    def _become_idle_after(
        self, outcome: Outcome, responder: Responder | None, earlier: Mapping[str, str]
    ) -> None:
        from toolkit.daemon import handover

        peer = handover.verified_peer(self._node, outcome)
        self._become_idle(outcome.record, peer, responder, earlier)

    def _become_idle(
        self,
        record: Record | None,
        peer: str,
        responder: Responder | None,
        earlier: Mapping[str, str] | None,
        why_not_ready: str = "",
    ) -> None:
        """Exec into the keeper; never returns.

        ``earlier`` has the signatures from before the setup looked at the files; None where it
        failed, and then nothing is marked ready.
        """
        from toolkit.daemon import handover
        from toolkit.journal import memory_copy

        texts = ("", "", "", "", "")
        if responder is not None:
            from toolkit.daemon.health import answers

            responder.stop()
            lack = self._node.installer.cdi.state.lack
            texts = answers(self._resident.counters, "ready", why_not_ready or lack)
        unverified = "" if earlier is not None else why_not_ready or "the setup failed"
        resident = replace(self._resident, peer=peer, unverified=unverified)
        if earlier is not None:
            journal_fd = memory_copy.keep(self._node.store, resident.journal_fd)
            resident = replace(resident, journal_fd=journal_fd)
        watch = handover.watch(self._node, self._presence, resident, record, earlier)
        resident = replace(resident, known=handover.found_right(self._node, record, watch))
        keeper_state.become_idle(
            resident,
            self._presence.lock,
            replace(watch, answers=texts),
            keeper_state.own_command(),
            handover.program(self._node),
        )
