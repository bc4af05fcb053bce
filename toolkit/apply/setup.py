"""One setup, at a start or as a repair: the steps before it, then plan, apply, verify.

The code that applies or undoes a change is loaded only when needed.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from toolkit import logs
from toolkit.apply.begin import Outcome, refresh_record
from toolkit.apply.plan import Plan, without_needless_reload
from toolkit.apply.steps import Planned, next_step
from toolkit.errors import ConcurrentEditError
from toolkit.host.clock import Clock
from toolkit.journal.record import Record
from toolkit.node import Node
from toolkit.settings import RestartMode
from toolkit.undo.recovery import StartStep, settle_payload
from toolkit.version import VERSION

log = logs.get(__name__)

ATTEMPTS = 3
_MIB = 1 << 20


def set_up(
    node: Node,
    clock: Clock,
    *,
    patience: float,
    repair: bool = False,
    verified: tuple[int, int] | None = None,
) -> Outcome:
    """Set the node up, after the steps that come before; undo the setup on any failure.

    A repair logs what it changes, and does not reload the engine's ``verified`` process for what
    it has loaded already (``without_needless_reload``). If another process writes a file meanwhile,
    the setup is undone and starts again from the new state, at most ``ATTEMPTS`` times in all.
    """
    node.installer.cdi.require_driver()
    attempts = 1
    while True:
        planned = _after_steps(node, clock, patience)
        record = node.store.load()
        if repair:
            plan = without_needless_reload(planned.plan, record, node.store.blob, verified)
            planned = replace(planned, plan=plan)
        else:
            _announce(planned)
        for note in planned.plan.notes:
            log.step("plan.note", note)
        try:
            return _carry_out(node, planned, record, clock, repair=repair)
        except ConcurrentEditError as error:
            if attempts == ATTEMPTS:
                raise
            attempts += 1
            log.warning("setup.again", "begun again", reason=error.message)


def _after_steps(node: Node, clock: Clock, patience: float) -> Planned:
    """Do the steps before the setup, and return its plan."""
    done: list[str] = []
    while isinstance(step := next_step(node, clock, patience=patience, done=done), StartStep):
        step.do()
        done.append(step.path)
    return step


def _carry_out(
    node: Node, planned: Planned, record: Record | None, clock: Clock, *, repair: bool
) -> Outcome:
    plan, control = planned.plan, planned.control
    if not plan.nothing_to_do or record is None or record.payload is None:
        from toolkit.apply.transaction import Transaction

        if repair:
            _log_repair(plan)
        transaction = Transaction(node=node, control=control, clock=clock, waits=not repair)
        return transaction.apply(plan, record)
    outcome = _unchanged(node, plan, record, clock, repair=repair)
    if control is not None and plan.reload.mode is not RestartMode.NONE:
        from toolkit.apply.served import verify_served

        verify_served(node, control, plan, outcome.process, clock=clock)
    return outcome


def _log_repair(plan: Plan) -> None:
    from runtime_configs.formats.unified_diff import redacted_diff

    if plan.differing and not plan.reload.needed:
        log.step("plan.note", f"no reload: {plan.reload.reason}")
    for change in plan.differing:
        diff = redacted_diff(change.path, change.now, change.after, known=change.base)
        log.step("drift.diff", f"restoring our change in {change.path}", diff=diff)


def _unchanged(node: Node, plan: Plan, record: Record, clock: Clock, *, repair: bool) -> Outcome:
    """Finish a setup that finds everything right."""
    log.step("plan.empty", "nothing differs", reason=plan.reload.reason)
    process = None if plan.facts is None else plan.facts.process
    outcome = Outcome(record=_refreshed(node, plan, record), reload=None, process=process)
    # A reboot removes the spec, and a newer driver makes it stale.
    node.installer.cdi.apply(clock, waits=not repair)
    settle_payload(node, record)
    if repair:
        from toolkit.apply.check import pending_edits

        for line in pending_edits(node, plan, stages=True):
            log.warning("config.pending", line)
    return outcome


def _refreshed(node: Node, plan: Plan, record: Record) -> Record:
    """Update the journal where the same setup is in force by other settings.

    Otherwise an engine set up with restart mode ``none`` and started again without it would never
    be watched, and one that was configured by hand would not be known.
    """
    found = refresh_record(node, plan, record)
    if found != record:
        node.store.commit(found)
    return found


def _announce(planned: Planned) -> None:
    """Write the first line: the version, the engine, why it was chosen, and what is done."""
    plan, facts = planned.plan, planned.plan.facts
    acts = ", ".join(_acts(plan)) or "nothing to do"
    if facts is None:
        log.step("setup.begun", f"nvidia-toolkit {VERSION}, no engine: {acts}")
        return
    log.step(
        "setup.begun",
        f"nvidia-toolkit {VERSION}, {facts.engine} {facts.shown_version}: {acts}",
        socket=facts.socket,
        chosen=planned.why,
        distribution=facts.distribution,
    )


def _acts(plan: Plan) -> Iterator[str]:
    """Yield what a setup does, in order."""
    if plan.payload.changes:
        size = plan.payload.size / _MIB
        yield f"{plan.payload.action.value} the toolkit's files ({size:.1f} MiB)"
    count = len(plan.differing)
    if count:
        yield f"change {count} file{'' if count == 1 else 's'} of the engine"
    if plan.reload.needed:
        yield "reload it"
