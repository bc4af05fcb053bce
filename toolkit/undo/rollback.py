"""Roll back, recover, and what a revert shares with them.

``go_back`` has two aims: the start of an unfinished change, or the time before us (a revert). It
restores the files first. Then it asks the engine what it serves, reloads it only if that differs,
and verifies. A change counts as undone only when that was seen.

Recovery is the first step of every start. It compares digests and guesses nothing. A setup whose
files are all in place and whose handlers the engine serves counts as done; any other is undone. A
revert is always finished.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from toolkit import logs
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import EngineProcess, Expectation
from toolkit.engine.verify import shortcomings
from toolkit.errors import EngineRejectedError, LockedError, NotRestoredError, ToolkitError
from toolkit.host.clock import UninterruptedClock
from toolkit.host.lock import held_by_other
from toolkit.journal.record import Record, State, committed, digest_of
from toolkit.node import Node, engine_of
from toolkit.payload.installer import PayloadRecord
from toolkit.payload.source import RUNTIME
from toolkit.settings import RestartMode
from toolkit.undo.engine import (
    ASKING_SECONDS,
    GoBackReport,
    differs,
    facts_of,
    restore_engine,
    settled_facts,
    state_before,
    without_us,
)
from toolkit.undo.files import (
    Aim,
    Target,
    restore_files,
    stages_of,
    targets_at_start,
    targets_before_us,
)
from toolkit.undo.k3s_autodetect import searcher

log = logs.get(__name__)


def go_back(node: Node, aim: Aim) -> GoBackReport:
    """Restore the files, then make the engine serve what they say; signals wait.

    Raises NotRestoredError where the files are restored and the engine does not serve them, another
    ToolkitError where a file can't be written.
    """
    clock = UninterruptedClock()
    began = clock.now()
    restore_files(node, aim)
    back = GoBackReport()
    if not aim.record.unfinished:
        seconds = clock.now() - began
        log.step("revert.files", "the engine's files are restored", seconds=seconds)
    try:
        if aim.control is not None:
            if searcher(aim.record, f"{node.store.install_dir}/toolkit") is not None:
                aim.release()
            back = restore_engine(node, aim, aim.control, began + aim.seconds)
    except ToolkitError as error:
        if not aim.broken or not isinstance(error, EngineRejectedError):
            there = node.view.glob(f"{node.store.install_dir}/toolkit/{RUNTIME}")
            stay = "; the toolkit's files stay until then" if there else ""
            raise NotRestoredError(
                f"the config files are back, but {error.message}",
                error.hint or f"restart the engine{stay}",
            ) from error
        log.warning("engine.not_restored", "it serves no pods, as before", reason=str(error))
    return replace(back, files=tuple(each.record.path for each in aim.targets if each.differs))


def reload_mode(node: Node, aim: Aim) -> RestartMode | None:
    """Return how the engine would be reloaded; None where it already serves what it should."""
    facts = None if aim.control is None else facts_of(aim.control, ASKING_SECONDS)
    if facts is None or facts.process is None or not differs(aim, aim.expected, facts):
        return None
    return mode_of(node, aim.record)


def roll_back(
    node: Node,
    intent: Record,
    record: Record | None,
    control: EngineControl | None,
    process: EngineProcess | None = None,
    *,
    leaves: Record | None = None,
) -> GoBackReport:
    """Undo an intent's change, from any point at which it stopped.

    ``record`` is the journal before the change, and after this unless ``leaves`` names another.
    ``control`` is None where no engine is asked; ``process`` is the engine as it was before, where
    that is known. Raises what ``go_back`` raises.
    """
    kept = () if record is None else record.directories
    payload = None if intent.payload is None else PayloadRecord.from_json(intent.payload)

    def release() -> None:
        if payload is not None:
            node.installer.undo(payload)

    reloading = intent.state is State.RELOADING
    targets = targets_at_start(node, intent)
    back = go_back(
        node,
        Aim(
            record=intent,
            targets=targets,
            stages=stages_of(node, intent, targets, intent.previous_default),
            directories=tuple(each for each in intent.directories if each not in kept),
            expected=state_before(record, intent),
            loaded=reloading,
            control=_reloaded(node, intent, control if intent.reloads else None),
            seconds=node.settings.lifecycle.verify_timeout,
            known=process if reloading else None,
            broken=intent.start_lack is not None,
            release=release,
        ),
    )
    release()
    if leaves is None:
        node.store.abandon(intent, record)
    else:
        node.store.commit(leaves)
    return back


def settle_payload(node: Node, record: Record) -> None:
    """Make the payload and the CDI spec of a committed record final; can be repeated."""
    if record.payload is not None:
        node.installer.commit(PayloadRecord.from_json(record.payload))


class Step(Struct, frozen=True, kw_only=True):
    """One step that a start takes before its setup: decided by reading, carried out by ``do``."""

    path: str
    """What it is about, on the host."""
    reason: str
    node: Node
    """The node as the owner of the journal sees it."""
    do: Callable[[], object]
    leaves: Record | None
    """The journal in force afterwards."""
    targets: tuple[Target, ...] = ()
    """The engine's files as the step leaves them."""
    contents: tuple[bytes | None, ...] = ()
    """The contents that the journal keeps from then on."""
    reloads: Callable[[], RestartMode | None] = lambda: None
    """Ask the engine whether the step reloads it; return how."""


def recovery(node: Node, *, reverts: bool = False) -> Step | None:
    """Decide which step an interrupted run needs before anything else; reads only.

    ``reverts``: a revert follows, which reloads the engine. Raises LockedError where another
    installer that is running owns the journal.
    """
    record, intent = node.store.load(), node.store.load_intent()
    for each in (intent, record):
        _require_no_living_owner(node, each)
    if intent is not None:
        path = node.store.intent_path
        begun = "a setup is under way or was interrupted"
        done = committed(intent)
        if record == done or _is_complete(node, intent, engine_of(node, intent)):
            return Step(
                path=path,
                reason=f"{begun}; it came to its end, which is noted first",
                node=node,
                do=partial(_finish, node, done),
                leaves=done,
            )
        return Step(
            path=path,
            reason=f"{begun}; it is undone first",
            node=node,
            do=partial(_undo, node, intent, record, reverts=reverts),
            leaves=record,
            targets=targets_at_start(node, intent),
        )
    if record is not None and record.state is State.REVERTING and not reverts:
        return Step(
            path=node.store.path,
            reason="an interrupted revert is finished",
            node=node,
            do=partial(_finish_revert, node, record),
            leaves=record.without_files(),
            targets=targets_before_us(node, record),
        )
    return None


def _require_no_living_owner(node: Node, record: Record | None) -> None:
    """Refuse to touch the setup of another installer that is running (another pid file)."""
    if record is None or record.pid_file in ("", node.pid_file):
        return
    held = held_by_other(node.root.access(record.pid_file))
    if held is not None:
        raise LockedError(
            f"{node.store.install_dir} belongs to another installer that is running:"
            f" {held.message}",
            "stop that one first, or use its --toolkit-install-dir and --pid-file",
        )


def recover(node: Node, *, reverts: bool = False) -> Record | None:
    """Finish or undo what an interrupted run left; return the journal in force.

    Raises JournalError for a journal that must not be touched, NotRestoredError where an unfinished
    change could not be undone.
    """
    node.store.clean()
    step = recovery(node, reverts=reverts)
    if step is not None:
        step.do()
        return node.store.load()
    record = node.store.load()
    if record is not None:
        # A kill right after the commit left them.
        node.store.tidy(record)
        if record.state is State.COMMITTED:
            settle_payload(node, record)
    return record


def _is_complete(node: Node, intent: Record, control: EngineControl | None) -> bool:
    """Tell whether all of an intent is in place, and the engine serves it."""
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
    facts = settled_facts(control, UninterruptedClock().now() + ASKING_SECONDS)
    expected = Expectation(served=intent.handlers, default=intent.default)
    return facts is not None and not shortcomings(expected, facts.served)


def _begin(intent: Record, node: Node) -> None:
    log.warning("recovery.begun", "an earlier run ended in the middle of a setup")
    for directory in {posixpath.dirname(each.path) for each in intent.files}:
        if not node.writer.missing_directories(directory):
            node.writer.clean_leftovers(directory)


def _finish(node: Node, done: Record) -> None:
    _begin(done, node)
    node.store.commit(done)
    settle_payload(node, done)
    log.step("recovery.finished", "it had come to its end; the engine serves the handlers")


def _undo(node: Node, intent: Record, record: Record | None, *, reverts: bool) -> None:
    _begin(intent, node)
    took = logs.stopwatch()
    control, leaves = engine_of(node, intent), None
    targets = targets_at_start(node, intent)
    staged = bool(stages_of(node, intent, targets, intent.previous_default))
    if reverts and record is not None and record.files and not staged:
        # The revert that follows reloads once for both; it also verifies that these are gone.
        made = tuple(each for each in intent.handlers if each not in record.handlers)
        default = intent.default or record.default
        leaves = replace(record, handlers=(*record.handlers, *made), default=default)
        control = None
    try:
        back = roll_back(node, intent, record, control, leaves=leaves)
    except ToolkitError as failure:
        raise NotRestoredError(
            f"an interrupted setup could not be undone: {failure.message}",
            failure.hint or f"what was there before lies in {node.store.directory}",
        ) from failure
    said = "it was undone" if back.seen else "its files are restored"
    log.step("recovery.undone", said, seconds=took())


def _finish_revert(node: Node, record: Record) -> None:
    """Restore the engine's files that an interrupted revert left; the payload stays recorded.

    The engine may still have our change loaded; the setup that follows reloads it. Only an engine
    that one reload would not free of our change is reloaded here, in stages.
    """
    aim = before_us(node, record, targets_before_us(node, record), engine_of(node, record))
    go_back(node, aim if aim.stages else replace(aim, control=None))
    log.step("recovery.reverted", "an interrupted revert was finished")
    node.store.commit(record.without_files())


def before_us(
    node: Node, record: Record, targets: tuple[Target, ...], control: EngineControl | None
) -> Aim:
    """Return the aim of a revert."""
    return Aim(
        record=record,
        targets=targets,
        stages=stages_of(node, record, targets, record.previous_default),
        directories=record.directories,
        expected=without_us(record),
        loaded=record.state is State.REVERTING or any(each.differs for each in targets),
        control=_reloaded(node, record, control if record.handlers else None),
        seconds=node.settings.lifecycle.stop_timeout,
    )


def mode_of(node: Node, record: Record) -> RestartMode:
    """Return how the engine of a record is reloaded now; not at all where there is none."""
    if record.engine is None:
        return RestartMode.NONE
    return node.settings.engines[record.engine].restart_mode


def _reloaded(node: Node, record: Record, control: EngineControl | None) -> EngineControl | None:
    return None if mode_of(node, record) is RestartMode.NONE else control
