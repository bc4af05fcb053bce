"""What the daemon's process does at its start and each time that it returns from the keeper.

starting > installing > configuring > reloading > verifying > ready > reverting > stopped | failed
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

from msgspec.structs import replace

from toolkit import logs
from toolkit.daemon.keeper_state import Handover, become_idle
from toolkit.daemon.lock_and_ready import Presence
from toolkit.daemon.observe import UNKNOWN
from toolkit.engine import loading
from toolkit.errors import NotRestoredError, ToolkitError
from toolkit.host.clock import Clock
from toolkit.journal.record import Record
from toolkit.node import Node
from toolkit.settings import RestartMode
from toolkit.undo.recovery import recover

if TYPE_CHECKING:
    from toolkit.apply.begin import Outcome
    from toolkit.daemon.health import Responder
    from toolkit.undo.engine import GoBackReport

log = logs.get(__name__)


class Daemon:
    """One process that holds the lock."""

    def __init__(self, node: Node, clock: Clock, presence: Presence, last: Handover) -> None:
        """``last`` is what was handed to the keeper; nothing to watch at the first start."""
        self._node = node
        self._clock = clock
        self._presence = presence
        self._last = last
        self._resident = last.resident
        self._life = node.settings.lifecycle
        self._responder: Responder | None = None

    def _begin(self) -> None:
        """Answer probes, and load the gRPC code beside, where an engine will be asked."""
        if self._resident.listener_fd >= 0:
            from toolkit.daemon.health import Responder

            self._responder = Responder(self._resident.listener_fd, self._resident.counters)
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

    def _recovered(self, *, reverts: bool = False) -> Record | None:
        """Recover from a crash."""
        record = recover(self._node, reverts=reverts)
        self._presence.know(record)
        return record

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

    def _reverts(self) -> bool:
        """Find out whether the end of this process reverts the setup, and log why."""
        from toolkit.daemon import stop_reason

        return stop_reason.reverts(self._node, os.environ)

    def _revert(self, *, purge: bool = False) -> GoBackReport | None:
        from toolkit.journal import memory_copy
        from toolkit.undo.revert import revert_record

        try:
            memory_copy.restore(self._node.store, self._resident.journal_fd)
            record = self._recovered(reverts=True)
            return None if record is None else revert_record(self._node, record, purge=purge)
        except NotRestoredError:
            raise
        except ToolkitError as error:
            raise NotRestoredError(
                f"the setup is still in place: {error.message}",
                f"{error.hint or 'fix that'}, then run `revert` or start again",
            ) from error

    def _become_idle_after(self, outcome: Outcome, earlier: Mapping[str, str]) -> NoReturn:
        from toolkit.daemon.watch import verified_peer

        peer, process = verified_peer(self._node, outcome), outcome.process
        verified = None
        if process is not None and peer == str(process.pid):
            verified = (process.pid, process.start_time)
        self._resident = replace(self._resident, verified_process=verified)
        self._become_idle(outcome.record, peer, earlier)

    def _become_idle(
        self,
        record: Record | None,
        peer: str,
        earlier: Mapping[str, str] | None,
        why_not_ready: str = "",
    ) -> NoReturn:
        """Exec into the keeper.

        ``earlier`` has the signatures from before the setup looked at the files; None where it
        failed, and then nothing is marked ready.
        """
        from toolkit.daemon.watch import watch
        from toolkit.journal import memory_copy

        answers = ("", "", "", "", "")
        if self._responder is not None:
            from toolkit.daemon.health import answers as prepared

            self._responder.stop()
            lack = self._node.installer.cdi.state.lack
            answers = prepared(self._resident.counters, "ready", why_not_ready or lack)
        resident = replace(self._resident, why_not_ready="")
        if earlier is None:
            resident = replace(resident, why_not_ready=why_not_ready or "the setup failed")
        else:
            journal_fd = memory_copy.keep(self._node.store, resident.journal_fd)
            resident = replace(resident, journal_fd=journal_fd)
        found = watch(
            self._node,
            self._presence,
            resident,
            record,
            earlier,
            peer=peer,
            answers=answers,
        )
        if any(signature == UNKNOWN for _, signature in found.files):
            # It may have loaded what somebody wrote since.
            resident = replace(resident, verified_process=None)
        become_idle(Handover(resident=resident, watch=found), self._node.store.install_dir)
