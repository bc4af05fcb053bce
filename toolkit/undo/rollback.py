"""Go back to the start of an unfinished change, or to the time before us.

``go_back`` restores the files first. Then it asks the engine what it serves, reloads it only if
that differs, and verifies. A change counts as undone only after that.
"""

from __future__ import annotations

from msgspec.structs import replace

from toolkit import logs
from toolkit.engine.wait import LOOK_SECONDS, STOP_TIMEOUT, VERIFY_TIMEOUT, Deadline
from toolkit.errors import EngineRejectedError, NotRestoredError, ToolkitError
from toolkit.host.clock import UninterruptedClock
from toolkit.journal.record import Record
from toolkit.node import Node
from toolkit.payload.source import RUNTIME
from toolkit.settings import RestartMode
from toolkit.undo.aim import Aim, mode_of
from toolkit.undo.engine import GoBackReport, facts_of, needs_reload, restore_engine
from toolkit.undo.files import restore_files
from toolkit.undo.k3s_autodetect import searcher

log = logs.get(__name__)


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
    if facts is None or facts.process is None or not needs_reload(aim, aim.expected, facts):
        return None
    return mode_of(node, aim.record)
