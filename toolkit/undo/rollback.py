"""Go back to the start of an unfinished change, or to the time before us.

``go_back`` restores the files first. Then it asks the engine what it serves, reloads it only if
that differs, and verifies. A change counts as undone only after that.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from runtime_configs.model import Role
from toolkit import logs
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import EngineProcess
from toolkit.engine.wait import LOOK_SECONDS, STOP_TIMEOUT, VERIFY_TIMEOUT, Deadline
from toolkit.errors import EngineRejectedError, NotRestoredError, ToolkitError
from toolkit.host.clock import UninterruptedClock
from toolkit.journal.record import Record, State
from toolkit.node import Node, engine_of
from toolkit.payload.records import PayloadRecord
from toolkit.payload.source import RUNTIME
from toolkit.settings import RestartMode
from toolkit.undo.engine import (
    GoBackReport,
    differs,
    facts_of,
    restore_engine,
    state_before,
    without_us,
)
from toolkit.undo.files import Aim, restore_files, targets_at_start, targets_before_us
from toolkit.undo.k3s_autodetect import searcher

log = logs.get(__name__)


def at_start(
    node: Node,
    intent: Record,
    record: Record | None,
    control: EngineControl | None,
    process: EngineProcess | None = None,
) -> Aim:
    """Return the aim of a rollback, from any point at which an intent's change stopped.

    ``record`` is the journal before the change. ``control`` is None if no engine is asked;
    ``process`` is the engine from before, if known.
    """
    kept = () if record is None else record.directories
    payload = None if intent.payload is None else PayloadRecord.from_json(intent.payload)

    def release() -> None:
        if payload is not None:
            node.installer.undo(payload)

    reloading = intent.state is State.RELOADING
    return Aim(
        record=intent,
        targets=targets_at_start(node, intent),
        directories=tuple(each for each in intent.directories if each not in kept),
        expected=state_before(record, intent),
        loaded=reloading,
        control=_reloaded(node, intent, control if intent.reloads else None),
        known=process if reloading else None,
        release=release,
    )


def before_us(node: Node, record: Record, lost: Callable[[str], bool] = lambda _path: False) -> Aim:
    """Return the aim of a revert. A deleted file is restored only if it is ``lost``."""
    targets = targets_before_us(node, record, lost)
    return Aim(
        record=record,
        targets=targets,
        directories=record.directories,
        expected=without_us(record),
        loaded=record.state is State.REVERTING or any(each.differs for each in targets),
        control=_reloaded(node, record, engine_of(node, record) if _is_served(record) else None),
    )


def go_back(node: Node, aim: Aim) -> GoBackReport:
    """Restore the files, then make the engine serve what they say; signals wait.

    Raises NotRestoredError if the files are restored and the engine does not serve them, another
    ToolkitError if a file cannot be written.
    """
    clock, life = UninterruptedClock(), node.settings.lifecycle
    began = clock.now()
    restore_files(node, aim)
    by = Deadline.after(began, life.verify_timeout, VERIFY_TIMEOUT)
    if not aim.record.unfinished:
        seconds = clock.now() - began
        log.step("revert.files", "the engine's files are restored", seconds=seconds)
        by = Deadline.after(began, life.stop_timeout, STOP_TIMEOUT)
    back = GoBackReport()
    try:
        if aim.control is not None:
            if searcher(aim.record, node.toolkit_dir) is not None:
                aim.release()
            back = restore_engine(node, aim, aim.control, by)
    except ToolkitError as error:
        served_nothing = aim.record.start_lack is not None
        if not served_nothing or not isinstance(error, EngineRejectedError):
            there = node.view.glob(f"{node.toolkit_dir}/{RUNTIME}")
            stay = "; the toolkit's files stay until then" if there else ""
            raise NotRestoredError(
                f"the config files are restored, but {error.message}",
                error.hint or f"restart the engine{stay}",
            ) from error
        log.warning("engine.not_restored", "it serves no pods, as before", reason=str(error))
    return replace(back, files=tuple(each.record.path for each in aim.targets if each.differs))


def roll_back(
    node: Node, aim: Aim, record: Record | None, *, leaves: Record | None = None
) -> GoBackReport:
    """Undo the change of an aim from ``at_start``. Raises what ``go_back`` raises.

    ``record`` is the journal afterwards, unless ``leaves`` is given.
    """
    back = go_back(node, aim)
    aim.release()
    if leaves is None:
        node.store.abandon(aim.record, record)
    else:
        node.store.commit(leaves)
    return back


def reload_mode(node: Node, aim: Aim) -> RestartMode | None:
    """Return how the engine would be reloaded; None where it already serves what it should."""
    facts = None if aim.control is None else facts_of(aim.control, LOOK_SECONDS)
    if facts is None or facts.process is None or not differs(aim, aim.expected, facts):
        return None
    return mode_of(node, aim.record)


def _is_served(record: Record) -> bool:
    """Return whether an engine has something of a record in force: handlers, or CDI alone."""
    return bool(record.handlers) or any(each.role is not Role.HOOK for each in record.files)


def mode_of(node: Node, record: Record) -> RestartMode:
    """Return how the engine of a record is reloaded now; not at all if there is none."""
    if record.engine is None:
        return RestartMode.NONE
    return node.settings.engines[record.engine].restart_mode


def _reloaded(node: Node, record: Record, control: EngineControl | None) -> EngineControl | None:
    return None if mode_of(node, record) is RestartMode.NONE else control
