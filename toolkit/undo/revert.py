"""Revert: restore config files, verify with the engine, remove the payload.

Once begun it only moves forward. After a kill the next start or `revert` restores the other files;
until then the engine runs with what it had loaded.
"""

from __future__ import annotations

from msgspec.structs import replace

from toolkit import logs
from toolkit.engine.facts import Holding, HoldReport
from toolkit.errors import NotRestoredError, ToolkitError
from toolkit.journal.record import Record, State, digest_of
from toolkit.node import Node, control_of
from toolkit.payload import parting
from toolkit.payload.records import PayloadRecord
from toolkit.payload.source import RUNTIME
from toolkit.settings import RestartMode
from toolkit.undo.aim import Aim, before_us, mode_of
from toolkit.undo.engine import GoBackReport, facts_of
from toolkit.undo.payload_users import held
from toolkit.undo.rollback import go_back

log = logs.get(__name__)


def revert_record(node: Node, record: Record, *, purge: bool = False) -> GoBackReport:
    """Undo the record's change; ``purge`` removes the payload even if no engine can be asked.

    Raises NotRestoredError after all possible steps were done, any other ToolkitError before
    anything was changed.
    """
    aim = revert_aim(node, record)
    payload = _Payload(node, record, purge=purge)
    _note(node, aim)
    try:
        return payload.settle(go_back(node, replace(aim, release=payload.release)))
    except NotRestoredError:
        raise
    except ToolkitError as error:
        raise NotRestoredError(
            f"the revert stopped half-way: {error.message}",
            "fix that and run it again: it continues where it stopped",
        ) from error


def revert_aim(node: Node, record: Record) -> Aim:
    """Return the aim of a revert of a record; reads only.

    A top-level config that was deleted is restored if the engine's arguments name it, as the engine
    does not start without it. An engine that is not running may be waiting for just that file.
    """
    control = control_of(node, record)

    def lost(path: str) -> bool:
        if control is None or not record.reloads:
            return False
        facts = facts_of(control, node.settings.lifecycle.stop_timeout / 2)
        process = None if facts is None else facts.process
        return process is None or any(path in each for each in process.arguments)

    return before_us(node, record, lost)


def _note(node: Node, aim: Aim) -> None:
    """Record the aim of each file before the first one is changed.

    The record has the present content and the temporary one, so that a start after a kill
    recognises both as ours.
    """
    record = aim.record
    contents: list[bytes | None] = []
    files = []
    for target in aim.targets:
        contents += [target.content, *target.passed]
        files.append(
            replace(
                target.record,
                before=digest_of(target.content),
                start=digest_of(target.now),
                ours=digest_of(target.passed[-1]),
            )
        )
    node.store.commit(replace(record, state=State.REVERTING, files=tuple(files)), contents)


class _Payload:
    """The toolkit's files in one revert: removed unless something on the node still needs them."""

    def __init__(self, node: Node, record: Record, *, purge: bool) -> None:
        self._node = node
        self._record = record
        self._purge = purge
        self._gone = False
        self._parting = parting.Parting()

    def release(self) -> None:
        """Remove files that the engine would find by itself, before it is reloaded."""
        there = bool(self._node.view.glob(f"{self._node.toolkit_dir}/{RUNTIME}"))
        if self._record.payload is not None and there:
            self._remove_unless_held(restarts=True)

    def settle(self, report: GoBackReport) -> GoBackReport:
        """Remove the files, or keep them and log why; the journal goes with them."""
        self._node.installer.cdi.remove_spec()
        if self._record.payload is None:
            self._node.store.drop(self._record)
            return report
        took = logs.stopwatch()
        found = None
        if not self._gone:
            restarts = mode_of(self._node, self._record) is not RestartMode.NONE
            found = self._remove_unless_held(restarts=restarts)
        if found is not None:
            return self._kept(report, found)
        parting.leave(self._node.writer, self._parting)
        self._node.store.drop(self._record)
        path = self._node.toolkit_dir
        log.step("payload.removed", "the toolkit's files are gone", path=path, seconds=took())
        if self._parting.containers:
            message = "a script stays until the engine has deleted the installer's own container"
            log.step("payload.parting", message, path=path)
        return replace(report, payload="removed")

    def _remove_unless_held(self, *, restarts: bool) -> HoldReport | None:
        """Remove the files unless something needs them; return what does."""
        record = self._record
        found = held(self._node, record, control_of(self._node, record), restarts=restarts)
        unsure = found.holding is Holding.CANNOT_TELL
        if found.holding is not Holding.FREE and not (unsure and self._purge):
            return found
        payload = PayloadRecord.from_json(record.payload or {})
        made = (*record.install_directories, *payload.directories)
        self._parting = parting.prepare(self._node.writer, self._node.toolkit_dir, found.own, made)
        self._node.installer.remove(payload)
        self._gone = True
        return None

    def _kept(self, report: GoBackReport, found: HoldReport) -> GoBackReport:
        self._node.store.commit(self._record.without_files())
        because = f" ({found.reason})" if found.reason else ""
        why = (
            f"used by {', '.join(found.containers)}{because}"
            if found.holding is Holding.HELD
            else f"the engine could not be asked who uses it{because}"
        )
        message = (
            f"kept {self._node.toolkit_dir}: {why}; the next start or `revert` removes it"
            " once nobody uses it"
        )
        log.warning("payload.kept", message)
        return replace(
            report,
            payload="kept",
            kept_for=found.containers,
            warnings=(*report.warnings, message),
        )
