"""What an earlier run left behind: dealt with first at every start.

Nothing is guessed: digests identify every file. A setup counts as done if all its files are in
place and the engine serves it; any other is undone. A revert is always finished. The code that
undoes a change is loaded only when needed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from toolkit import logs
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import Expectation
from toolkit.errors import LockedError, NotRestoredError, NotWritableError, ToolkitError
from toolkit.host.clock import UninterruptedClock
from toolkit.host.lock import held_by_other
from toolkit.journal.record import Record, State, committed, digest_of
from toolkit.node import Node, control_of
from toolkit.payload.records import PayloadRecord
from toolkit.settings import RestartMode

if TYPE_CHECKING:
    from toolkit.undo.aim import Aim, Target

log = logs.get(__name__)


def settle_payload(node: Node, record: Record) -> None:
    """Make the payload and the CDI spec of a committed record final; can be repeated."""
    if record.payload is not None:
        node.installer.commit(PayloadRecord.from_json(record.payload))


class StartStep(Struct, frozen=True, kw_only=True):
    """A step of a start before its setup: decided read-only, carried out by ``do``."""

    path: str
    """The path that it is about, on the host."""
    reason: str
    node: Node
    """The node as the owner of the journal sees it."""
    act: Callable[[], object]
    leaves: Record | None
    """The journal in force afterwards."""
    targets: tuple[Target, ...] = ()
    """The engine's files as the step leaves them."""
    contents: tuple[bytes | None, ...] = ()
    """The contents that the journal keeps afterwards."""
    reloads: Callable[[], RestartMode | None] = lambda: None
    """Ask the engine how the step reloads it, if it does."""
    unfinished: bool = False
    """Whether an interrupted setup stays because of an error."""

    def require_possible(self) -> None:
        """Raise NotWritableError, or NotRestoredError where an earlier run's change stays."""
        try:
            for each in self.targets:
                if each.differs:
                    self.node.writer.require_writable(each.record.path)
            self.node.writer.require_writable(self.node.store.path)
        except NotWritableError as failure:
            if not self.unfinished:
                raise
            raise _not_undone(self.node, failure) from failure

    def do(self) -> None:
        """Carry out the step."""
        self.require_possible()
        self.act()


def recovery(node: Node, *, reverts: bool = False) -> StartStep | None:
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
        if record == done or _is_complete(node, intent, control_of(node, intent)):
            return StartStep(
                path=path,
                reason=f"{begun}; it was complete; the journal is updated first",
                node=node,
                act=partial(_finish, node, done),
                leaves=done,
            )
        from toolkit.undo.aim import at_start

        aim = at_start(node, intent, record, control_of(node, intent))
        return StartStep(
            path=path,
            reason=f"{begun}; it is undone first",
            node=node,
            act=partial(_undo, node, aim, record, reverts=reverts),
            leaves=record,
            targets=aim.targets,
            unfinished=True,
        )
    if record is not None and record.state is State.REVERTING and not reverts:
        from toolkit.undo.aim import before_us

        aim = before_us(node, record)
        return StartStep(
            path=node.store.path,
            reason="an interrupted revert is finished",
            node=node,
            act=partial(_finish_revert, node, aim),
            leaves=record.without_files(),
            targets=aim.targets,
        )
    return None


def _require_no_living_owner(node: Node, record: Record | None) -> None:
    """Refuse to change the setup of another installer that is running (another pid file)."""
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
    _finish_writes(node)
    step = recovery(node, reverts=reverts)
    if step is not None:
        step.do()
        return node.store.load()
    record = node.store.load()
    if record is not None:
        # Left by a kill right after the commit.
        node.store.tidy(record)
        if record.state is State.COMMITTED:
            settle_payload(node, record)
    return record


def _finish_writes(node: Node) -> None:
    """Finish or undo writes that a kill interrupted, before the files' contents are compared."""
    for each in (node.store.load(), node.store.load_intent()):
        if each is not None and each.state is not State.COMMITTED:
            from toolkit.undo.files import clean_directories

            _require_no_living_owner(node, each)
            clean_directories(node, (file.path for file in each.files))


def _is_complete(node: Node, intent: Record, control: EngineControl | None) -> bool:
    """Return whether all of an intent is in place, and the engine serves it."""
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
    from toolkit.engine.verify import shortcomings
    from toolkit.engine.wait import LOOK_SECONDS
    from toolkit.undo.engine import settled_facts

    facts = settled_facts(control, UninterruptedClock().now() + LOOK_SECONDS)
    expected = Expectation(served=intent.handlers, default=intent.default)
    return facts is not None and not shortcomings(expected, facts.served)


def _begin() -> None:
    log.warning("recovery.begun", "an earlier run ended in the middle of a setup")


def _finish(node: Node, done: Record) -> None:
    _begin()
    node.store.commit(done)
    settle_payload(node, done)
    log.step("recovery.finished", "it was complete; the engine serves the handlers")


def _undo(node: Node, aim: Aim, record: Record | None, *, reverts: bool) -> None:
    from toolkit.undo.rollback import roll_back

    _begin()
    took = logs.stopwatch()
    intent, leaves = aim.record, None
    if reverts and record is not None and record.files and not aim.has_interim:
        # The revert that follows reloads once for both; it also verifies that these are gone.
        made = tuple(each for each in intent.handlers if each not in record.handlers)
        default = intent.default or record.default
        leaves = replace(record, handlers=(*record.handlers, *made), default=default)
        aim = replace(aim, control=None)
    try:
        back = roll_back(node, aim, record, leaves=leaves)
    except ToolkitError as failure:
        raise _not_undone(node, failure) from failure
    said = "it was undone" if back.seen else "its files are restored"
    log.step("recovery.undone", said, seconds=took())


def _not_undone(node: Node, failure: ToolkitError) -> NotRestoredError:
    return NotRestoredError(
        f"an interrupted setup could not be undone: {failure.message}",
        failure.hint or f"the previous files are in {node.store.directory}",
    )


def _finish_revert(node: Node, aim: Aim) -> None:
    """Restore the engine's files that an interrupted revert left; the payload stays in the record.

    The engine may still use our change; the setup that follows reloads it. Only an engine that
    would not drop our change then is reloaded here, with interim contents.
    """
    from toolkit.undo.rollback import go_back

    go_back(node, aim if aim.has_interim else replace(aim, control=None))
    log.step("recovery.reverted", "an interrupted revert was finished")
    node.store.commit(aim.record.without_files())
