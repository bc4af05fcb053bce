"""Roll back, recover, and the code that a revert shares with them.

``go_back`` has two aims: the start of an unfinished change, or the time before us (a revert). It
restores the files first. Then it asks the engine what it serves, reloads it only if that differs,
and verifies. A change counts as undone only after that.

Recovery is the first step of every start. It compares digests and guesses nothing. A setup whose
files are all in place and whose handlers the engine serves counts as done; any other is undone. A
revert is always finished.
"""

from __future__ import annotations

from msgspec.structs import replace

from runtime_configs.model import Role
from toolkit import logs
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import EngineProcess
from toolkit.engine.wait import STOP_TIMEOUT, VERIFY_TIMEOUT, Deadline
from toolkit.errors import EngineRejectedError, NotRestoredError, ToolkitError
from toolkit.host.clock import UninterruptedClock
from toolkit.journal.record import Record, State
from toolkit.node import Node
from toolkit.payload.records import PayloadRecord
from toolkit.payload.source import RUNTIME
from toolkit.settings import RestartMode
from toolkit.undo.engine import (
    ASKING_SECONDS,
    GoBackReport,
    differs,
    facts_of,
    restore_engine,
    state_before,
    without_us,
)
from toolkit.undo.files import (
    Aim,
    Target,
    restore_files,
    stages_of,
    targets_at_start,
)
from toolkit.undo.k3s_autodetect import searcher

log = logs.get(__name__)


def go_back(node: Node, aim: Aim) -> GoBackReport:
    """Restore the files, then make the engine serve what they say; signals wait.

    Raises NotRestoredError if the files are restored and the engine does not serve them, another
    ToolkitError if a file cannot be written.
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
            by = Deadline.after(began, aim.seconds, aim.flag)
            back = restore_engine(node, aim, aim.control, by)
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

    ``record`` is the journal before the change, and afterwards unless ``leaves`` is given.
    ``control`` is None if no engine is asked; ``process`` is the engine from before, if known.
    Raises what ``go_back`` raises.
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
            flag=VERIFY_TIMEOUT,
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
        control=_reloaded(node, record, control if _is_served(record) else None),
        seconds=node.settings.lifecycle.stop_timeout,
        flag=STOP_TIMEOUT,
    )


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
