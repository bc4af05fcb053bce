"""What a start would do from here: its steps, each planned on the result of the one before.

Nothing changes: the next step sees a step's files and journal as an overlay on the host.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from runtime_configs.overlay import Overlay
from toolkit.apply.changes import FileChange
from toolkit.apply.check import pending_edits, require_possible
from toolkit.apply.plan import Plan, ReloadDecision, changing, reload_decision
from toolkit.apply.steps import Planned, next_step
from toolkit.errors import ToolkitError
from toolkit.host.clock import UninterruptedClock
from toolkit.journal.codec import encode
from toolkit.journal.store import JournalStore
from toolkit.node import Node
from toolkit.payload.spec_file import SpecChange
from toolkit.undo.recovery import StartStep, recovery


class Preview(Struct, frozen=True, kw_only=True):
    """A plan, and everything else that the same start would do."""

    plan: Plan
    """From the present files to those after the start; the steps in between are left out."""
    specs: tuple[SpecChange, ...]
    driver_lacks: str | None
    """The driver's missing parts, which the start would wait for before it writes a CDI spec."""
    steps: tuple[StartStep, ...]
    """The steps before the setup."""
    pending: tuple[str, ...] = ()
    """Edits by others that the engine has not loaded and will load at its next reload."""
    refusal: ToolkitError | None = None
    """The error that the start would end with despite a plan, before it writes anything."""

    @property
    def nothing_to_do(self) -> bool:
        """True where a start would change nothing."""
        return self.plan.nothing_to_do and not self.specs and not self.steps


def preview(node: Node) -> Preview:
    """Compute the result of a start with these settings.

    Raises the ToolkitError that the start would end with if there is no plan to show.
    """
    recovery(node)  # as in every start: a failed recovery comes first
    driver: ToolkitError | None = None
    try:
        node.installer.cdi.require_driver()
    except ToolkitError as error:
        driver = error
    try:
        there, steps, planned = _steps(node)
    except ToolkitError as error:
        raise driver or error from error.__cause__
    pending: tuple[str, ...] = ()
    refusal = driver or planned.awaited
    try:
        require_possible(there, planned.plan, planned.control)
        pending = pending_edits(there, planned.plan, stages=False)
    except ToolkitError as error:
        refusal = refusal or error
    return Preview(
        plan=_from_here(node, planned.plan, steps),
        specs=node.installer.cdi.planned(),
        driver_lacks=node.installer.cdi.lacking(),
        steps=steps,
        pending=pending,
        refusal=refusal,
    )


def _steps(node: Node) -> tuple[Node, tuple[StartStep, ...], Planned]:
    """Return the steps before the setup, the node after them, and the setup."""
    there, steps, clock = node, list[StartStep](), UninterruptedClock()
    while True:
        step = next_step(there, clock, patience=None, done=[each.path for each in steps])
        if not isinstance(step, StartStep):
            return there, tuple(steps), step
        step.require_possible()
        steps.append(step)
        there = _after(there, step)


def _after(node: Node, step: StartStep) -> Node:
    """Return the node as it would be after a step."""
    store = step.node.store
    files = {each.record.path: each.content for each in step.targets}
    kept = {store.blob_path(each): each for each in step.contents if each is not None}
    journal = None if step.leaves is None else encode(step.leaves)
    view = Overlay(node.view, {**files, **kept, store.path: journal, store.intent_path: None})
    own = JournalStore(writer=node.writer, view=view, install_dir=node.store.install_dir)
    return replace(node, view=view, store=own)


def _from_here(node: Node, planned: Plan, steps: Sequence[StartStep]) -> Plan:
    """Return a plan whose changes begin at the present files."""
    left = {each.record.path: each for step in steps for each in step.targets}
    if not left:
        return planned
    changes = {each.path: replace(each, now=node.view.read(each.path)) for each in planned.changes}
    for path, each in left.items():
        if path not in changes:
            changes[path] = FileChange(
                path=path,
                format=each.record.format,
                role=each.record.role,
                base=each.content,
                now=node.view.read(path),
                after=each.content,
            )
    found = tuple(changes.values())
    if planned.facts is not None:
        reload = reload_decision(planned.facts, planned.reload.mode, found, planned.expected)
    else:
        # No engine is set up; an earlier one is reloaded where it still serves our handlers.
        mode = next(filter(None, (step.reloads() for step in steps)), None)
        reload = planned.reload
        if mode is not None:
            written = [each.path for each in found if each.differs]
            reason = changing(written) if written else "it still serves the earlier setup"
            reload = ReloadDecision(needed=True, mode=mode, reason=reason)
    return replace(planned, changes=found, reload=reload)
