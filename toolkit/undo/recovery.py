"""First of all at every start: finish or undo what a crash interrupted.

Nothing is guessed: a file is what its digest says. A setup whose files are all in place and that
the engine serves counts as done; any other is undone. A revert is always finished.
"""

from __future__ import annotations

import posixpath

from msgspec.structs import replace

from toolkit import logs
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import Expectation
from toolkit.engine.verify import shortcomings
from toolkit.errors import NotRestoredError, ToolkitError
from toolkit.host.clock import UninterruptedClock
from toolkit.journal.baseline import baselines
from toolkit.journal.record import Record, State, committed, digest_of
from toolkit.node import Node, engine_of
from toolkit.payload.installer import PayloadRecord
from toolkit.undo.files import Target, facts_of, put_back, way_back
from toolkit.undo.rollback import settle_payload, undo

log = logs.get(__name__)

ASKING_SECONDS = 5.0
"""How long the engine may take to say what it serves while an intent is judged."""


def recover(node: Node, *, reverts: bool = False) -> Record | None:
    """Return the journal in force after anything unfinished was settled.

    With ``reverts`` it is reverted next, which tells the engine once more. Raises JournalError for
    a journal that must not be touched, NotRestoredError where an unfinished change could not be
    undone.
    """
    node.store.clean()
    record = node.store.load()
    intent = node.store.load_intent()
    if intent is not None:
        return _settle(node, intent, record, reverts=reverts)
    if record is not None and record.state is State.REVERTING:
        return finish_revert(node, record)
    if record is not None:
        # A kill right after the commit left them.
        node.store.tidy(record)
        if record.state is State.COMMITTED:
            settle_payload(node, record)
    return record


def _settle(node: Node, intent: Record, record: Record | None, *, reverts: bool) -> Record | None:
    log.warning("recovery.begun", "an earlier run ended in the middle of a setup")
    for directory in {posixpath.dirname(each.path) for each in intent.files}:
        if not node.writer.missing_directories(directory):
            node.writer.clean_leftovers(directory)
    took = logs.stopwatch()
    control = engine_of(node, intent)
    done = committed(intent)
    if record == done or is_complete(node, intent, control):
        node.store.commit(done)
        settle_payload(node, done)
        message = "it had come to its end; the engine serves the handlers"
        log.step("recovery.finished", message, seconds=took())
        return done
    try:
        undo(node, intent, record, _running(control), None, reverts=reverts)
    except ToolkitError as failure:
        raise NotRestoredError(
            f"an interrupted setup could not be undone: {failure.message}",
            failure.hint or f"what was there before lies in {node.store.directory}",
        ) from failure
    log.step("recovery.undone", "it was undone", seconds=took())
    return record


def is_complete(node: Node, intent: Record, control: EngineControl | None) -> bool:
    """Tell whether all of an intent is in place and in force."""
    for each in intent.files:
        if digest_of(node.view.read(each.path)) != each.ours:
            return False
    if intent.payload is not None:
        wanted = PayloadRecord.from_json(intent.payload)
        if node.installer.installed() != wanted.digest:
            return False
    if control is None or not intent.reloads:
        return True
    if intent.state is not State.RELOADING:
        return False
    facts = facts_of(control, ASKING_SECONDS)
    expected = Expectation(served=intent.handlers, default=intent.default)
    return facts is not None and not shortcomings(expected, facts.served)


def _running(control: EngineControl | None) -> EngineControl | None:
    """Return the control of an engine that runs; one that does not will read its files again."""
    facts = None if control is None else facts_of(control, ASKING_SECONDS)
    return control if facts is not None and facts.process is not None else None


def finish_revert(node: Node, record: Record) -> Record | None:
    """Put the engine's files back that an interrupted revert left; the payload is kept noted.

    The engine may still have our change in force; whoever goes on from here reloads it. Only an
    engine that a plain reload would not free of it is told here. Raises NotRestoredError where
    that fails; the next start or revert tries again.
    """
    without = baselines(record, node.view, node.store.blob, node.adapter, lost=lambda _path: False)
    targets = tuple(
        Target(record=each, now=node.view.read(each.path), content=without[each.path])
        for each in record.files
    )
    control = engine_of(node, record) if record.reloads else None
    way = way_back(node, record, targets, control, ASKING_SECONDS)
    failure = put_back(node, way, record.directories, UninterruptedClock())
    if failure is not None:
        raise NotRestoredError(
            f"the config files are back, but {failure.message}",
            failure.hint or f"restart {record.engine}; the toolkit's files stay until then",
        ) from failure
    log.step("recovery.reverted", "an interrupted revert was finished")
    left = replace(record, state=State.PAYLOAD_KEPT, files=(), directories=())
    node.store.commit(left)
    return left
