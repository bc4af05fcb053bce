"""Take our change of the host back: the engine's files first, then its word, then the payload.

Once it has begun it is never turned round. A kill in between leaves files that the next start puts
right, and an engine that still runs with what it had loaded.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from runtime_configs.model import EngineName
from toolkit import logs
from toolkit.dry_run import refusal
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import Expectation, Holding, HoldReport, HostFacts
from toolkit.errors import EngineRejectedError, NotRestoredError, ToolkitError
from toolkit.host.clock import Clock, UninterruptedClock
from toolkit.journal.record import Record, State, digest_of
from toolkit.node import Node, engine_of
from toolkit.payload.installer import PayloadRecord
from toolkit.payload.source import RUNTIME
from toolkit.request import config_request
from toolkit.settings import RestartMode
from toolkit.undo.engine import bring_up, without_us
from toolkit.undo.files import Target, WayBack, contents_before_us, facts_of, put_back, way_back
from toolkit.undo.k3s_autodetect import drop_unmeetable, searcher
from toolkit.undo.payload_users import held

log = logs.get(__name__)

COMING_SECONDS = 0.5
"""How long an engine that does not run is given to appear, in the middle of a restart by others."""


class RevertReport(Struct, frozen=True, kw_only=True):
    """What a revert did."""

    files: tuple[str, ...] = ()
    reloaded: bool = False
    warnings: tuple[str, ...] = ()
    payload: str = "none"
    """``removed``, ``kept`` or ``none``."""
    kept_for: tuple[str, ...] = ()
    """The containers that hold the payload."""


class Revert:
    """One revert. Raises NotRestoredError where the engine is not back or still serves ours."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._clock: Clock = UninterruptedClock()
        self._began = self._clock.now()
        self._touched = False

    def run(self, record: Record, *, purge: bool = False) -> RevertReport:
        """Take the record's change back; ``purge`` removes the payload though nobody can be asked.

        Raises NotRestoredError after everything that could be done was done, any other ToolkitError
        where nothing was touched yet.
        """
        try:
            return self._run(record, purge=purge)
        except NotRestoredError:
            raise
        except ToolkitError as error:
            if not self._touched:
                raise
            raise NotRestoredError(
                f"the revert stopped half-way: {error.message}",
                "fix that and start it again: it goes on where it stopped",
            ) from error

    def _run(self, record: Record, *, purge: bool) -> RevertReport:
        control = engine_of(self._node, record)
        mode = self._mode(record)
        told = None if mode is RestartMode.NONE else control
        targets = self._targets(record)
        way = way_back(self._node, record, targets, told, self._asking_seconds)
        self._note(record, way)
        failure = put_back(self._node, way, record.directories, self._clock)
        log.step(
            "revert.files", "the engine's files are back", seconds=self._clock.now() - self._began
        )
        report = RevertReport(
            files=tuple(each.record.path for each in way.targets if each.differs),
            reloaded=way.staged and failure is None,
        )
        left = replace(record, state=State.PAYLOAD_KEPT, files=(), directories=())
        gone = False
        try:
            if failure is not None:
                self._require_not_at_fault(way)
                raise failure
            if told is not None and record.handlers:
                gone = self._leaves_first(record, told, purge=purge)
                report = self._tell(record, told, mode, way, report, gone=gone)
        except ToolkitError as error:
            if not way.staged:  # else what was written has to be known once more
                self._node.store.commit(left)
            there = self._node.view.glob(f"{self._node.store.install_dir}/toolkit/{RUNTIME}")
            files = "; the toolkit's files stay until then" if there else ""
            raise NotRestoredError(
                f"the config files are back, but {error.message}",
                error.hint or f"restart the engine{files}",
            ) from error
        return self._payload(left, control, report, purge=purge, gone=gone)

    @property
    def _asking_seconds(self) -> float:
        return self._node.settings.lifecycle.stop_timeout / 2

    def _mode(self, record: Record) -> RestartMode:
        if record.engine is None:
            return RestartMode.NONE
        return self._node.settings.engines[record.engine].restart_mode

    def _tell(
        self,
        record: Record,
        control: EngineControl,
        mode: RestartMode,
        way: WayBack,
        report: RevertReport,
        *,
        gone: bool,
    ) -> RevertReport:
        """Let the engine load its files, and verify. Raises what reload and verification do."""
        deadline = self._clock.now() + self._node.settings.lifecycle.stop_timeout
        facts = self._facts_of_one_that_comes(control)
        if facts is None or facts.process is None:
            why = "it could not be reached" if facts is None else str(facts.unreachable)
            warning = f"{control.name} does not run ({why}); files were restored, no reload needed"
            log.warning("engine.absent", warning)
            return replace(report, warnings=(*report.warnings, warning))
        changed = bool(report.files)
        if (changed and not way.staged) or gone or self._still_serves(facts, record):
            self._require_loadable(facts, way)
            done = bring_up(control, mode, facts.process, self._clock, deadline)
            report = replace(report, reloaded=True)
            log.step(
                "engine.reloaded",
                f"{control.name} reloaded its previous config",
                how=done.mode,
                refused_seconds=done.refused,
                seconds=done.answering_after,
            )
        took = logs.stopwatch()
        control.verify(self._aim(record), self._clock, deadline)
        log.step(
            "engine.verified",
            "the engine does not serve our handlers any more",
            socket=facts.socket,
            seconds=took(),
        )
        return report

    def _require_not_at_fault(self, way: WayBack) -> None:
        """Say which line somebody left that keeps the engine from reloading its own files.

        Raises EngineRejectedError.
        """
        facts = None if way.control is None else facts_of(way.control, self._asking_seconds)
        if facts is not None and facts.process is not None:
            self._require_loadable(facts, way)

    def _require_loadable(self, facts: HostFacts, way: WayBack) -> None:
        """Leave an engine running whose own files, as others left them, would be its end.

        Raises EngineRejectedError.
        """
        directory = f"{self._node.store.install_dir}/toolkit"
        request = config_request(self._node.settings, facts, directory)
        files = [(each.record, each.content) for each in way.targets]
        reason = refusal(self._node, facts, request, files)
        if reason is not None:
            raise EngineRejectedError(
                f"{facts.executable} refuses them as they are without us: {reason}",
                f"fix the config and run `revert` again; {facts.engine} goes on with our handlers",
            )

    def _facts_of_one_that_comes(self, control: EngineControl) -> HostFacts | None:
        """Look once more at an engine that is not there: one that restarts may have read ours."""
        end = self._clock.now() + COMING_SECONDS
        while True:
            facts = facts_of(control, self._asking_seconds)
            if (facts is not None and facts.process is not None) or self._clock.now() >= end:
                return facts
            self._clock.sleep(COMING_SECONDS / 5)

    def _still_serves(self, facts: HostFacts, record: Record) -> bool:
        """Return whether the engine has our change in force though its files hold none of it."""
        answer = facts.served.config
        if answer is None or facts.engine is EngineName.DOCKER:
            return False
        served = {(name, handler.binary_path or "") for name, handler in answer.handlers.items()}
        return bool(served & set(self._aim(record).absent))

    def _aim(self, record: Record) -> Expectation:
        return drop_unmeetable(without_us(record), record, self._node.view)

    def _leaves_first(self, record: Record, control: EngineControl, *, purge: bool) -> bool:
        """Remove a payload before the engine starts again that it would find by itself.

        Returns whether it did. What somebody still needs stays.
        """
        directory = f"{self._node.store.install_dir}/toolkit"
        there = bool(self._node.view.glob(f"{directory}/{RUNTIME}"))
        if record.payload is None or not there or searcher(record, directory) is None:
            return False
        if not _goes(held(self._node, record, control, told=True), purge=purge):
            return False
        self._node.installer.remove(PayloadRecord.from_json(record.payload))
        return True

    def _targets(self, record: Record) -> tuple[Target, ...]:
        without = contents_before_us(self._node, record, self._asking_seconds)
        return tuple(
            Target(record=each, now=self._node.view.read(each.path), content=without[each.path])
            for each in record.files
        )

    def _note(self, record: Record, way: WayBack) -> None:
        """Write down where each file goes before the first is touched.

        With the content that is there now and the one that lies there in between, so that a start
        after a kill knows both of them as ours.
        """
        contents: list[bytes | None] = []
        files = []
        for target in way.targets:
            between = target.between[-1] if target.between else target.now
            contents += [target.content, target.now, between]
            files.append(
                replace(
                    target.record,
                    before=digest_of(target.content),
                    start=digest_of(target.now),
                    ours=digest_of(between),
                )
            )
        reverting = replace(record, state=State.REVERTING, files=tuple(files))
        self._node.store.commit(reverting, contents)
        self._touched = True

    def _payload(
        self,
        record: Record,
        control: EngineControl | None,
        report: RevertReport,
        *,
        purge: bool,
        gone: bool,
    ) -> RevertReport:
        """Remove the payload unless something on the node still needs it."""
        self._node.installer.remove_cdi()
        if record.payload is None:
            self._node.store.drop(record)
            return report
        free = HoldReport(holding=Holding.FREE)
        told = self._mode(record) is not RestartMode.NONE
        found = free if gone else held(self._node, record, control, told=told)
        if _goes(found, purge=purge):
            took = logs.stopwatch()
            self._node.installer.remove(PayloadRecord.from_json(record.payload))
            self._node.store.drop(record)
            path = f"{self._node.store.install_dir}/toolkit"
            log.step("payload.removed", "the toolkit's files are gone", path=path, seconds=took())
            return replace(report, payload="removed")
        self._node.store.commit(record)
        because = f" ({found.reason})" if found.reason else ""
        why = (
            f"containers use it: {', '.join(found.containers)}{because}"
            if found.holding is Holding.HELD
            else f"the engine could not be asked who uses it{because}"
        )
        message = f"the toolkit's files stay, since {why}; the next start or `revert` removes them"
        log.warning("payload.kept", message)
        return replace(
            report,
            payload="kept",
            kept_for=found.containers,
            warnings=(*report.warnings, message),
        )


def _goes(found: HoldReport, *, purge: bool) -> bool:
    return found.holding is Holding.FREE or (found.holding is Holding.CANNOT_TELL and purge)
