"""Take a change back that was begun, from its intent; or make one final that was committed."""

from __future__ import annotations

from toolkit.engine.control import EngineControl
from toolkit.engine.facts import EngineProcess
from toolkit.errors import ToolkitError
from toolkit.host.clock import UninterruptedClock
from toolkit.journal import Record, State
from toolkit.node import Node
from toolkit.payload.installer import PayloadRecord
from toolkit.plan import merged
from toolkit.restore import (
    Target,
    after_stages,
    bring_back,
    process_of,
    put_files_back,
    run_stages,
    stages_of,
    state_before,
)


def undo(
    node: Node,
    intent: Record,
    record: Record | None,
    control: EngineControl | None,
    process: EngineProcess | None,
) -> None:
    """Take an intent's change back, from any point at which it stopped; signals wait.

    ``control`` is None where no engine has to take the files up. Raises ToolkitError where a file
    can't be written or the engine does not serve what it did.
    """
    clock = UninterruptedClock()
    targets = undo_targets(node, intent)
    told = intent.state is State.RELOADING and control is not None
    made = tuple(
        each for each in intent.directories if record is None or each not in record.directories
    )
    deadline = clock.now() + node.settings.lifecycle.verify_timeout
    staged: tuple[tuple[Target, bytes], ...] = ()
    if told and control is not None:
        facts = control.facts(deadline)
        if facts.process is not None:
            staged = stages_of(node, intent.engine, targets, intent.previous_default)
            try:
                run_stages(node, control, facts.process, staged, clock)
            except ToolkitError:
                put_files_back(node, after_stages(targets, staged), made)
                raise
    put_files_back(node, after_stages(targets, staged), made)
    if told and control is not None and intent.engine is not None:
        mode = node.settings.engines[intent.engine].restart_mode
        expected = state_before(record, intent)
        if staged:
            control.verify(expected, clock, deadline)
        else:
            known = process or process_of(intent)
            bring_back(control, mode, known, expected=expected, clock=clock, deadline=deadline)
    if intent.payload is not None:
        node.installer.undo(PayloadRecord.from_json(intent.payload))
    node.store.abandon(intent, record)


def settle_payload(node: Node, record: Record) -> None:
    """Make the payload and the CDI spec of a committed record final; can be repeated."""
    if record.payload is not None:
        node.installer.commit(PayloadRecord.from_json(record.payload))


def undo_targets(node: Node, intent: Record) -> tuple[Target, ...]:
    """Return what each file of an intent held when it began, with others' edits since then.

    A content that an undoing writes on its way is no edit of others.
    """
    targets = []
    for each in intent.files:
        now = node.view.read(each.path)
        start, ours = node.store.blob(each.start), node.store.blob(each.ours)
        known: tuple[bytes | None, ...] = (ours,)
        if intent.engine is not None:
            stages = node.adapter(intent.engine).revert_stages
            default = intent.default or intent.previous_default
            known = (
                ours,
                *stages(ours, start, intent.previous_default),
                *stages(start, ours, default),
            )
        content = start if now in known else merged(each.path, each.format, start, ours, now)
        targets.append(Target(record=each, now=now, content=content))
    return tuple(targets)
