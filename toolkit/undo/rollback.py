"""Take a change back that was begun, from its intent; or make one final that was committed."""

from __future__ import annotations

from toolkit import logs
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import EngineProcess
from toolkit.errors import EngineRejectedError, ToolkitError
from toolkit.host.clock import UninterruptedClock
from toolkit.journal.baseline import restore_if_deleted, strip_our_changes
from toolkit.journal.record import Record, State
from toolkit.node import Node
from toolkit.payload.installer import PayloadRecord
from toolkit.undo.engine import bring_back, process_of, state_before
from toolkit.undo.files import Target, put_back, way_back
from toolkit.undo.k3s_autodetect import drop_unmeetable, searcher

log = logs.get(__name__)


def undo(
    node: Node,
    intent: Record,
    record: Record | None,
    control: EngineControl | None,
    process: EngineProcess | None,
    *,
    reverts: bool = False,
) -> None:
    """Take an intent's change back, from any point at which it stopped; signals wait.

    ``control`` is None where no engine has to load the files. The files are back whatever the
    engine does. Raises ToolkitError where one can't be written or the engine does not serve what
    it did; with ``reverts`` the latter is left to the revert of ``record`` that follows, which
    tells the engine once more.
    """
    clock = UninterruptedClock()
    patience = node.settings.lifecycle.verify_timeout
    told = control if intent.state is State.RELOADING else None
    made = tuple(
        each for each in intent.directories if record is None or each not in record.directories
    )
    deadline = clock.now() + patience
    targets = undo_targets(node, intent)
    way = way_back(node, intent, targets, told, patience)
    failure = put_back(node, way, made, clock)
    payload = None if intent.payload is None else PayloadRecord.from_json(intent.payload)
    directory = f"{node.store.install_dir}/toolkit"
    if payload is not None and told is not None and searcher(intent, directory) is not None:
        node.installer.undo(payload)
    if told is not None and intent.engine is not None:
        mode = node.settings.engines[intent.engine].restart_mode
        expected = drop_unmeetable(state_before(record, intent), intent, node.view)
        try:
            if way.staged:
                # One that loaded nothing on the way forward loads nothing on the way back either.
                told.verify(expected, clock, deadline)
            else:
                known = process or process_of(intent)
                bring_back(told, mode, known, expected=expected, clock=clock, deadline=deadline)
        except ToolkitError as error:
            as_before = intent.start_lack is not None and isinstance(error, EngineRejectedError)
            if not as_before and (record is None or not reverts):
                raise failure or error from error
            log.warning(
                "engine.not_restored", "it serves no pods, or something else", reason=str(error)
            )
    if payload is not None:
        node.installer.undo(payload)
    node.store.abandon(intent, record)


def settle_payload(node: Node, record: Record) -> None:
    """Make the payload and the CDI spec of a committed record final; can be repeated."""
    if record.payload is not None:
        node.installer.commit(PayloadRecord.from_json(record.payload))


def undo_targets(node: Node, intent: Record) -> tuple[Target, ...]:
    """Return what each file of an intent held when it began, with others' edits since then.

    A file that somebody had deleted is one that a repair brings back, and so does its undoing.

    A content that an undoing writes on its way is not an edit of others.
    """
    adapter = None if intent.engine is None else node.adapter(intent.engine)
    targets = []
    for each in intent.files:
        now = node.view.read(each.path)
        start, ours = node.store.blob(each.start), node.store.blob(each.ours)
        known: tuple[bytes | None, ...] = (ours,)
        if adapter is not None:
            default = intent.default or intent.previous_default
            known = (
                ours,
                *adapter.revert_stages(ours, start, intent.previous_default),
                *adapter.revert_stages(start, ours, default),
            )
        if start is None and restore_if_deleted(each):
            # It was lost when a repair began: the engine has to start with something.
            start = node.store.blob(each.before)
        content = start if now in known else strip_our_changes(each, start, ours, now, adapter)
        targets.append(Target(record=each, now=now, content=content))
    return tuple(targets)
