"""What a start would do from here: what an earlier run left is settled first, then comes the plan.

Nothing is changed: each step that comes first is computed, and the next one planned on top of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from runtime_configs.overlay import Overlay
from toolkit.apply.check import pending_edits
from toolkit.apply.plan import FileChange, Plan, ReloadDecision, changing, reload_decision
from toolkit.apply.setup import LOOK_SECONDS, leaves_engine, make_plan, node_of_other, other_install
from toolkit.host.clock import UninterruptedClock
from toolkit.journal.baseline import baselines
from toolkit.journal.record import FileRecord, Record, State, committed
from toolkit.node import Node, engine_of
from toolkit.payload.spec_file import SpecChange
from toolkit.settings import RestartMode
from toolkit.undo.files import contents_before_us
from toolkit.undo.recovery import is_complete
from toolkit.undo.rollback import undo_targets


class Removal(Struct, frozen=True, kw_only=True):
    """Something of ours that goes before the setup begins."""

    path: str
    reason: str


class Preview(Struct, frozen=True, kw_only=True):
    """A plan, and all else that the same start would do."""

    plan: Plan
    """From what is on disk now to what the start leaves; the steps in between are left out."""
    specs: tuple[SpecChange, ...]
    driver_lacks: str | None
    """What of the driver the start would wait for, before it writes a CDI spec."""
    removals: tuple[Removal, ...]
    pending: tuple[str, ...] = ()
    """Edits of others that the engine has not loaded and that its next reload brings."""

    @property
    def nothing_to_do(self) -> bool:
        """True where a start would change nothing."""
        return self.plan.nothing_to_do and not self.specs and not self.removals


class _Settled(Struct, frozen=True, kw_only=True):
    """The journal as a start would find it after what comes first."""

    record: Record | None
    files: tuple[tuple[FileRecord, bytes | None], ...] = ()
    removals: tuple[Removal, ...] = ()


def preview(node: Node) -> Preview:
    """Compute it for a start with these settings. Raises ToolkitError where that can't be told."""
    clock = UninterruptedClock()
    settled = _settled(node)
    record, files, removals = settled.record, list(settled.files), list(settled.removals)
    reverted: list[Record] = []
    if record is not None and leaves_engine(node, record):
        files += _without(_on_top(node, files), record)
        removals.append(
            Removal(path=node.store.path, reason=f"the setup on {record.engine} is reverted first")
        )
        reverted.append(record)
        record = None
    planned = make_plan(_on_top(node, files), record, clock, patience=None).plan
    install_dir = other_install(node, planned)
    if install_dir is not None:
        other = node_of_other(_on_top(node, files), install_dir)
        theirs = _settled(other)
        files += theirs.files
        if theirs.record is not None:
            there = replace(_on_top(node, files), store=other.store)
            files += _without(there, theirs.record)
            reverted.append(theirs.record)
        removals.append(
            Removal(
                path=f"{install_dir}/toolkit",
                reason="the engine's config points there; that setup is reverted first",
            )
        )
        planned = make_plan(_on_top(node, files), record, clock, patience=None).plan
    pending = pending_edits(_on_top(node, files), planned, stages=False)
    return Preview(
        plan=_from_here(node, planned, files, reverted),
        specs=node.installer.planned_specs(),
        driver_lacks=node.installer.lacking_driver(),
        removals=tuple(removals),
        pending=pending,
    )


def _settled(node: Node) -> _Settled:
    """Return what ``recover`` would leave."""
    record, intent = node.store.load(), node.store.load_intent()
    if intent is not None:
        done = committed(intent)
        if record == done or is_complete(node, intent, engine_of(node, intent)):
            return _Settled(
                record=done,
                removals=(_interrupted(node, "it came to its end, which is noted first"),),
            )
        return _Settled(
            record=record,
            files=tuple((each.record, each.content) for each in undo_targets(node, intent)),
            removals=(_interrupted(node, "it is undone first"),),
        )
    if record is not None and record.state is State.REVERTING:
        return _Settled(
            record=replace(record, state=State.PAYLOAD_KEPT, files=(), directories=()),
            files=tuple(_settled_files(node, record)),
            removals=(Removal(path=node.store.path, reason="an interrupted revert is finished"),),
        )
    return _Settled(record=record)


def _interrupted(node: Node, end: str) -> Removal:
    return Removal(
        path=f"{node.store.directory}/intent.json",
        reason=f"a setup is under way or was interrupted; {end}",
    )


def _settled_files(node: Node, record: Record) -> list[tuple[FileRecord, bytes | None]]:
    """Return what the end of an interrupted revert leaves in a record's files."""
    found = baselines(record, node.view, node.store.blob, node.adapter, lost=lambda _path: False)
    return [(each, found[each.path]) for each in record.files]


def _without(node: Node, record: Record) -> list[tuple[FileRecord, bytes | None]]:
    """Return what a revert leaves in a record's files; the node has the record's journal."""
    found = contents_before_us(node, record, LOOK_SECONDS)
    return [(each, found[each.path]) for each in record.files]


def _contents(files: list[tuple[FileRecord, bytes | None]]) -> Mapping[str, bytes | None]:
    return {each.path: content for each, content in files}


def _on_top(node: Node, files: list[tuple[FileRecord, bytes | None]]) -> Node:
    """Return the node as it would be once these files have these contents."""
    return replace(node, view=Overlay(node.view, _contents(files))) if files else node


def _from_here(
    node: Node,
    planned: Plan,
    files: list[tuple[FileRecord, bytes | None]],
    reverted: list[Record],
) -> Plan:
    """Return a plan whose changes begin at what is on disk now."""
    if not files:
        return planned
    contents = _contents(files)
    changes = {each.path: replace(each, now=node.view.read(each.path)) for each in planned.changes}
    for each, _ in files:
        if each.path not in changes:
            content = contents[each.path]
            changes[each.path] = FileChange(
                path=each.path,
                format=each.format,
                role=each.role,
                base=content,
                now=node.view.read(each.path),
                after=content,
            )
    found = tuple(changes.values())
    if planned.facts is not None:
        reload = reload_decision(planned.facts, planned.reload.mode, found, planned.expected)
    else:
        reload = _reload_of_earlier(node, planned.reload, found, reverted)
    return replace(planned, changes=found, reload=reload)


def _reload_of_earlier(
    node: Node, usual: ReloadDecision, found: tuple[FileChange, ...], reverted: list[Record]
) -> ReloadDecision:
    """Say whether an engine is told that what was set up on it is gone."""
    paths = [each.path for each in found if each.differs]
    for record in reverted:
        if not paths or record.engine is None or not record.handlers:
            continue
        mode = node.settings.engines[record.engine].restart_mode
        if mode is not RestartMode.NONE:
            return ReloadDecision(needed=True, mode=mode, reason=changing(paths))
    return usual
