"""Take our change of the host back: the engine's files first, then its word, then the payload.

Once it has begun it is never turned round. A kill in between leaves files that the next start puts
right, and an engine that still runs with what it had loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from runtime_configs.model import EngineName
from toolkit import logs
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import Holding, HoldReport, HostFacts
from toolkit.errors import NotRestoredError, ToolkitError
from toolkit.host.clock import Clock, UninterruptedClock
from toolkit.journal import Record, State, digest_of
from toolkit.node import Node, choose_engine
from toolkit.payload.installer import PayloadRecord
from toolkit.plan import bases
from toolkit.restore import (
    Target,
    after_stages,
    bring_up,
    put_files_back,
    run_stages,
    stages_of,
    without_us,
)
from toolkit.settings import RestartMode

log = logs.get(__name__)

COMING_SECONDS = 0.5
"""How long an engine that does not run is given to appear, in the middle of a restart by others."""
ASKING_SECONDS = 5.0
"""How long the engine may take to say who uses the payload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevertReport:
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
        self._staged = False

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
                "mend that and start it again: it goes on where it stopped",
            ) from error

    def _run(self, record: Record, *, purge: bool) -> RevertReport:
        mode = self._mode(record)
        control = None if record.engine is None else self._node.control(record.engine)
        files, failure, reloaded, warnings = self._engine(record, control, mode)
        left = replace(record, state=State.PAYLOAD_KEPT, files=(), directories=())
        if failure is not None:
            if not self._staged:  # else what was written has to be known once more
                self._node.store.commit(left)
            raise NotRestoredError(
                f"the config files are back, but {failure.message}",
                failure.hint or "restart the engine; the toolkit's files stay until then",
            ) from failure
        payload, kept_for, more = self._payload(left, control, purge=purge)
        return RevertReport(
            files=files,
            reloaded=reloaded,
            warnings=(*warnings, *more),
            payload=payload,
            kept_for=kept_for,
        )

    def _mode(self, record: Record) -> RestartMode:
        if record.engine is None:
            return RestartMode.NONE
        return self._node.settings.engines[record.engine].restart_mode

    def _engine(
        self, record: Record, control: EngineControl | None, mode: RestartMode
    ) -> tuple[tuple[str, ...], ToolkitError | None, bool, tuple[str, ...]]:
        """Put the files back and let the engine take them up."""
        targets = self._targets(record)
        changed = any(each.differs for each in targets)
        facts = None
        # The engine is asked before its files are touched only where the way back needs it.
        stages = stages_of(self._node, record.engine, targets, record.previous_default)
        if stages and control is not None and mode is not RestartMode.NONE:
            facts = self._facts(control)
        staged = bool(stages) and facts is not None and facts.process is not None
        self._staged = staged
        self._note(record, targets, stages if staged else ())
        failure = None
        if staged and control is not None and facts is not None and facts.process is not None:
            try:
                run_stages(self._node, control, facts.process, stages, self._clock)
            except ToolkitError as error:
                failure = error
        left = after_stages(targets, stages if staged else ())
        put_files_back(self._node, left, record.directories)
        files = tuple(each.record.path for each in targets if each.differs)
        log.step(
            "revert.files", "the engine's files are back", seconds=self._clock.now() - self._began
        )
        if control is None or mode is RestartMode.NONE or not record.handlers:
            return files, failure, False, ()
        if failure is not None:
            return files, failure, False, ()
        return self._tell(record, control, mode, files=files, changed=changed, staged=staged)

    def _tell(
        self,
        record: Record,
        control: EngineControl,
        mode: RestartMode,
        *,
        files: tuple[str, ...],
        changed: bool,
        staged: bool,
    ) -> tuple[tuple[str, ...], ToolkitError | None, bool, tuple[str, ...]]:
        deadline = self._clock.now() + self._node.settings.lifecycle.stop_timeout
        facts = self._facts_of_one_that_comes(control)
        if facts is None or facts.process is None:
            why = "it could not be reached" if facts is None else str(facts.unreachable)
            warning = f"{control.name} does not run ({why}); nothing was signalled"
            log.warning("engine.absent", warning)
            return files, None, False, (warning,)
        expected = without_us(record)
        reloaded = False
        try:
            if (changed and not staged) or self._still_serves(facts, record):
                report = bring_up(control, mode, facts.process, self._clock, deadline)
                reloaded = True
                log.step(
                    "engine.reloaded",
                    f"{control.name} took its old config up",
                    how=report.mode,
                    refused_seconds=report.refused,
                    seconds=report.answering_after,
                )
            control.verify(expected, self._clock, deadline)
        except ToolkitError as error:
            return files, error, reloaded, ()
        log.step("engine.verified", "the engine does not serve our handlers any more")
        return files, None, reloaded or staged, ()

    def _facts_of_one_that_comes(self, control: EngineControl) -> HostFacts | None:
        """Look once more at an engine that is not there: one that restarts may have read ours."""
        end = self._clock.now() + COMING_SECONDS
        while True:
            facts = self._facts(control)
            if (facts is not None and facts.process is not None) or self._clock.now() >= end:
                return facts
            self._clock.sleep(COMING_SECONDS / 5)

    def _still_serves(self, facts: HostFacts, record: Record) -> bool:
        """Return whether the engine has our change in force though its files hold none of it."""
        answer = facts.served.config
        if answer is None or facts.engine is EngineName.DOCKER:
            return False
        served = {(name, handler.binary_path or "") for name, handler in answer.handlers.items()}
        return bool(served & set(without_us(record).absent))

    def _targets(self, record: Record) -> tuple[Target, ...]:
        node = self._node
        without = bases(
            record,
            node.view,
            node.store.blob,
            node.adapter,
            lost=lambda path: self._started_with(record, path),
        )
        return tuple(
            Target(record=each, now=self._node.view.read(each.path), content=without[each.path])
            for each in record.files
        )

    def _started_with(self, record: Record, path: str) -> bool:
        """Tell whether the engine was told of a file by its arguments, and dies without it.

        One that does not run at this moment may be waiting for just that file. Any other file
        that somebody deleted stays deleted.
        """
        if record.engine is None or not record.reloads:
            return False
        facts = self._facts(self._node.control(record.engine))
        process = None if facts is None else facts.process
        return process is None or any(path in each for each in process.arguments)

    def _note(
        self,
        record: Record,
        targets: tuple[Target, ...],
        stages: tuple[tuple[Target, bytes], ...],
    ) -> None:
        """Write down where each file goes before the first is touched.

        With the content that is there now and the one that lies there in between, so that a start
        after a kill knows both of them as ours.
        """
        stage_of = {target.record.path: content for target, content in stages}
        contents: list[bytes | None] = []
        files = []
        for target in targets:
            between = stage_of.get(target.record.path, target.now)
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

    def _facts(self, control: EngineControl) -> HostFacts | None:
        try:
            return control.facts(self._clock.now() + self._node.settings.lifecycle.stop_timeout / 2)
        except ToolkitError as error:
            log.warning("engine.unreachable", "the engine could not be asked", reason=str(error))
            return None

    def _payload(
        self, record: Record, control: EngineControl | None, *, purge: bool
    ) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        """Remove the payload unless something on the node still needs it."""
        self._node.installer.remove_cdi()
        if record.payload is None:
            self._node.store.drop(record)
            return "none", (), ()
        payload = PayloadRecord.from_json(record.payload)
        held = self._held(record, control)
        if held.holding is Holding.FREE or (held.holding is Holding.CANNOT_TELL and purge):
            self._node.installer.remove(payload)
            self._node.store.drop(record)
            log.step("payload.removed", "the toolkit's files are gone")
            return "removed", (), ()
        self._node.store.commit(record)
        why = (
            f"containers use it: {', '.join(held.containers)}{held.reason and f' ({held.reason})'}"
            if held.holding is Holding.HELD
            else f"the engine could not be asked who uses it ({held.reason})"
        )
        message = f"the toolkit's files stay, since {why}; the next start or `revert` removes them"
        log.warning("payload.kept", message)
        return "kept", held.containers, (message,)

    def _held_without_asking(self, record: Record) -> HoldReport:
        """In NRI mode no engine is asked: a payload that replaced one may be in use."""
        payload = PayloadRecord.from_json(record.payload or {})
        if payload.previous is None:
            return HoldReport(holding=Holding.FREE)
        reason = "in NRI mode it is not asked, and an earlier install may be in use"
        return HoldReport(holding=Holding.CANNOT_TELL, reason=reason)

    def _held(self, record: Record, control: EngineControl | None) -> HoldReport:
        """Find out whether a container, or the engine's config without us, needs the payload."""
        directory = f"{self._node.store.install_dir}/toolkit"
        if self._node.installer.puts_back():
            # The paths lead to another installer's binaries from the same moment on.
            return HoldReport(holding=Holding.FREE)
        try:
            if control is None and self._node.settings.nri.enabled:
                return self._held_without_asking(record)
            if control is None:
                # No engine was touched, but one may have been configured by hand to use the files.
                control = self._node.control(choose_engine(self._node))
            facts = control.facts(self._clock.now() + ASKING_SECONDS)
            if facts.effective is None:
                return HoldReport(holding=Holding.CANNOT_TELL, reason=str(facts.unreachable))
            # One that was not told of its files, which hold nothing of ours, may still serve it.
            named = dict.fromkeys(
                f'(the engine\'s own handler "{name}")'
                for config in (facts.effective, facts.served.config)
                for name, handler in ({} if config is None else config.handlers).items()
                if (handler.binary_path or "").startswith(f"{directory}/")
            )
            if named and record.engine is not None:
                return HoldReport(holding=Holding.HELD, containers=tuple(named))
            return control.held(directory)
        except ToolkitError as error:
            return HoldReport(holding=Holding.CANNOT_TELL, reason=error.message)
