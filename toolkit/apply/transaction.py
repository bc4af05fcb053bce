"""Apply a plan, or leave the host as it was.

The order makes every moment safe. The engine's own binary loads the staged result before a live
file changes. The intent, with the bytes to restore, is on disk before the first change. The change
counts once the engine serves what was planned. Any failure or signal before that is undone from the
intent.
"""

from __future__ import annotations

from msgspec.structs import replace

from toolkit import logs
from toolkit.apply.begin import Outcome, begin_record
from toolkit.apply.check import check_plan, require_possible
from toolkit.apply.plan import Plan
from toolkit.apply.served import verify_served
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import EngineProcess, ReloadReport
from toolkit.engine.wait import VERIFY_TIMEOUT, Deadline
from toolkit.errors import NotRestoredError, ToolkitError
from toolkit.host.clock import Clock
from toolkit.journal.record import Record, State, committed
from toolkit.node import Node
from toolkit.payload.records import PayloadRecord
from toolkit.settings import RestartMode
from toolkit.undo.aim import at_start, target_of
from toolkit.undo.engine import load_interim, reload_or_start
from toolkit.undo.files import write_file
from toolkit.undo.recovery import settle_payload
from toolkit.undo.rollback import roll_back

log = logs.get(__name__)


class Transaction:
    """One change of the host. Raises the original error after it has undone the change."""

    def __init__(
        self, *, node: Node, control: EngineControl | None, clock: Clock, waits: bool = True
    ) -> None:
        """Set the parts; without ``waits`` a missing driver is not waited for."""
        self._node = node
        self._waits = waits
        self._control = control
        self._clock = clock

    def apply(self, plan: Plan, record: Record | None) -> Outcome:
        """Apply the plan; ``record`` is the journal before it.

        Raises NotRestoredError if something failed and the host could not be restored.
        """
        require_possible(self._node, plan, self._control)
        check_plan(self._node, plan)
        self._clock.check()
        intent, contents = begin_record(self._node, plan, record)
        begun = False
        try:
            intent = self._node.store.begin(intent, contents)
            begun = True
            log.debug(
                "journal.begun", "the journal's intent is on disk", path=self._node.store.directory
            )
            intent, report = self._carry_out(plan, intent)
            record_in_force = committed(intent)
            self._node.store.commit(record_in_force)
        except Exception as error:
            self._roll_back(intent if begun else None, record, plan, error)
            raise
        try:
            settle_payload(self._node, record_in_force)
        except ToolkitError as error:
            # The setup counts from the commit on; the next start removes what is left over.
            log.warning("payload.not_finished", "files of an earlier setup stay", reason=str(error))
        return Outcome(
            record=record_in_force, reload=report, process=_serving(plan, report), changed=True
        )

    def _carry_out(self, plan: Plan, intent: Record) -> tuple[Record, ReloadReport | None]:
        installer, store = self._node.installer, self._node.store
        took = logs.stopwatch()
        if plan.payload.changes and intent.payload is not None:
            installer.stage(plan.payload, self._clock)
            self._clock.check()
            payload = PayloadRecord.from_json(intent.payload)
            installer.swap(payload)
            installer.require_edits_kept(plan.payload, payload)
            log.step(
                "payload.installed",
                "toolkit files are in place",
                path=plan.payload.toolkit_dir,
                digest=plan.payload.digest[:12],
                seconds=took(),
            )
        installer.cdi.apply(self._clock, waits=self._waits)
        intent, interim = self._load_interim(plan, intent)
        for change in plan.differing:
            self._clock.check()
            took = logs.stopwatch()
            known = intent.file(change.path)
            metadata = None if known is None else known.metadata
            write_file(self._node, change.path, change.after, metadata, (change.now, *interim))
            log.step(
                "file.written",
                "written",
                path=change.path,
                role=change.role.value,
                seconds=took(),
            )
        self._clock.check()
        if not plan.reload.needed or self._control is None or plan.facts is None:
            if self._control is not None and plan.reload.mode is not RestartMode.NONE:
                verify_served(
                    self._node, self._control, plan, _serving(plan, None), clock=self._clock
                )
            return intent, None
        intent = replace(intent, state=State.RELOADING)
        store.advance(intent)
        limit = self._node.settings.lifecycle.verify_timeout
        deadline = Deadline.after(self._clock.now(), limit, VERIFY_TIMEOUT)
        report = self._reload(plan, plan.facts.process, deadline)
        took = logs.stopwatch()
        verify_served(
            self._node, self._control, plan, report.process, clock=self._clock, deadline=deadline
        )
        log.step(
            "engine.verified",
            "the engine serves the handlers",
            socket=plan.facts.socket,
            default=plan.expected.default,
            seconds=took(),
        )
        return intent, report

    def _load_interim(self, plan: Plan, intent: Record) -> tuple[Record, tuple[bytes, ...]]:
        """Make the engine drop what an earlier setup gave it and this one does not.

        Returns the contents that were written in between.
        """
        process = None if plan.facts is None else plan.facts.process
        if not plan.reload.needed or self._control is None or process is None:
            return intent, ()
        blob, default = self._node.store.blob, intent.default or intent.previous_default
        targets = tuple(
            target_of(self._node, intent, each, blob(each.start), blob(each.ours), default=default)
            for each in intent.files
            if each.start != each.ours
        )
        interim = tuple(each.interim for each in targets if each.interim is not None)
        if interim:
            intent = replace(intent, state=State.RELOADING)
            self._node.store.advance(intent)
            load_interim(self._node, self._control, process, targets, self._clock)
        return intent, interim

    def _reload(self, plan: Plan, process: EngineProcess | None, deadline: float) -> ReloadReport:
        if self._control is None:
            raise TypeError("no engine to reload")
        log.step(
            "engine.reloading",
            f"{self._control.name} reloads its config",
            up_to_seconds=self._node.settings.lifecycle.verify_timeout,
        )
        report = reload_or_start(self._control, plan.reload.mode, process, self._clock, deadline)
        log.step(
            "engine.reloaded",
            f"{self._control.name} reloaded its config",
            how=report.mode,
            reason=plan.reload.reason,
            refused_seconds=report.refused,
            seconds=report.answering_after,
        )
        return report

    def _roll_back(
        self, intent: Record | None, record: Record | None, plan: Plan, cause: Exception
    ) -> None:
        log.warning("setup.undoing", "undoing the setup", reason=str(cause))
        took = logs.stopwatch()
        try:
            if intent is None:
                self._node.store.forget_unfinished(record)
                return
            latest = self._node.store.load_intent() or intent
            self._node.store.undo_commit(latest, record)
            process = None if plan.facts is None else plan.facts.process
            aim = at_start(self._node, latest, record, self._control, process)
            roll_back(self._node, aim, record)
        except ToolkitError as failure:
            why = f"{type(cause).__name__}: {cause}"
            if isinstance(cause, ToolkitError):
                why = cause.message
            raise NotRestoredError(
                f"{why}; and undoing it failed: {failure.message}",
                failure.hint or f"the previous files are in {self._node.store.directory}",
            ) from cause
        if isinstance(cause, ToolkitError):
            cause.undone = True
        log.step("setup.undone", "the host is as it was before", seconds=took())


def _serving(plan: Plan, report: ReloadReport | None) -> EngineProcess | None:
    if report is not None:
        return report.process
    return None if plan.facts is None else plan.facts.process
