"""Carry a plan out, or leave the host as it was.

The order is what makes every moment safe: the engine's own binary has loaded the staged result
before anything live is touched; the intent with the bytes to go back to is on disk before the
first change; the engine has to serve what was meant before the change counts; and whatever fails
on the way, a signal too, is undone from the intent.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace

from runtime_configs.adapter import ConfigRequest
from runtime_configs.model import EditSet, EffectiveConfig, FileEdit, RuntimeHandler
from toolkit import logs
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import EngineProcess, ReloadReport
from toolkit.errors import (
    ConcurrentEditError,
    EngineRejectedError,
    NotRestoredError,
    ToolkitError,
)
from toolkit.host.clock import Clock, UninterruptedClock
from toolkit.host.commands import CommandResult
from toolkit.journal import BlobMetadata, FileRecord, Record, State, digest_of
from toolkit.node import Node
from toolkit.payload.installer import PayloadRecord
from toolkit.plan import FileChange, Plan, merged, served
from toolkit.restore import (
    Target,
    after_stages,
    bring_back,
    bring_up,
    process_of,
    put_files_back,
    run_stages,
    stages_of,
    state_before,
    write_file,
)
from toolkit.settings import RestartMode
from toolkit.version import VERSION

log = logs.get(__name__)

CANNOT_BE_RUN = (126, 127)
"""Exit statuses of a program that is not there or not executable."""
_PATH = re.compile(r"/[^\s:'\"]+")
OWN_START_SECONDS = 30.0
"""How long the first reload waits for our own container to be reported running."""
OWN_START_POLL = 0.1
STAGED_SECONDS = 20.0
"""How long the engine's binary may take to load a config of any size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a set-up did."""

    record: Record
    reload: ReloadReport | None
    process: EngineProcess | None = None
    """The process that serves now, as far as it is known."""
    changed: bool = False


class Transaction:
    """One change of the host. Raises what failed, after it has been undone."""

    def __init__(self, *, node: Node, control: EngineControl | None, clock: Clock) -> None:
        self._node = node
        self._control = control
        self._clock = clock

    def apply(self, plan: Plan, record: Record | None) -> Outcome:
        """Carry the plan out; ``record`` is the journal before it.

        Raises NotRestoredError where something failed and the host could not be put back either.
        """
        self._check(plan, record)
        self._clock.check()
        intent, contents = self._intent(plan, record)
        begun = False
        try:
            intent = self._node.store.begin(intent, contents)
            begun = True
            log.debug("journal.begun", "the way back is on disk", path=self._node.store.directory)
            intent, report = self._carry_out(plan, intent)
            record_in_force = committed(intent)
            self._node.store.commit(record_in_force)
        except Exception as error:
            self._roll_back(intent if begun else None, record, plan, error)
            raise
        try:
            settle_payload(self._node, record_in_force)
        except ToolkitError as error:
            # The set-up counts from the commit on; what is left over goes at the next start.
            log.warning("payload.unsettled", "files of an earlier set-up stay", reason=str(error))
        return Outcome(
            record=record_in_force, reload=report, process=_serving(plan, report), changed=True
        )

    def _check(self, plan: Plan, record: Record | None) -> None:
        """Find out what can be found out before anything is written."""
        if plan.facts is None or self._control is None:
            return
        if plan.reload.needed and plan.facts.process is not None:
            self._control.preflight(plan.facts.process, plan.reload.mode)
        if plan.differing:
            self._check_staged(plan, record)

    def _check_staged(self, plan: Plan, record: Record | None) -> None:
        """Let the engine's own binary load the result. Raises EngineRejectedError."""
        facts, request = plan.facts, plan.request
        if facts is None or request is None or facts.executable is None:
            return
        adapter = self._node.adapter(facts.engine)
        with self._node.store.staging() as directory:
            edits = EditSet(edits=tuple(_edit(each) for each in plan.differing))
            check = adapter.staged_check(edits, request, self._node.view, directory)
            if check is None:
                return
            for path, content in check.files:
                self._node.writer.make_directories(posixpath.dirname(path))
                self._node.writer.write(path, content)
            after, before = self._run(facts.executable, check.after), None
            if check.before is not None and (check.prints or after.status != 0):
                before = self._run(facts.executable, check.before)
        if after.status != 0:
            refusal = after.reason.replace(directory, "")
            if after.status in CANNOT_BE_RUN or (before and _same_complaint(before, after)):
                log.warning("config.unchecked", "the engine's binary can't judge", reason=refusal)
                return
            raise EngineRejectedError(
                f"{facts.executable} refuses the config that would result: {refusal}",
                "nothing was written",
            )
        if not check.prints or before is None or before.status != 0:
            return
        surprises = adapter.unintended(
            self._decoded(plan, before.output),
            self._decoded(plan, after.output),
            _meant(request, record),
        )
        if surprises:
            raise EngineRejectedError(
                f"the change would also alter {'; '.join(surprises)}",
                "nothing was written; name the file to edit with --config or --drop-in-config",
            )
        log.step("config.checked", "the engine's own binary loads the result", by=facts.executable)

    def _decoded(self, plan: Plan, dump: bytes) -> EffectiveConfig:
        if plan.facts is None:
            raise TypeError("a dump without an engine")
        return self._node.adapter(plan.facts.engine).effective(dump)

    def _run(self, executable: str, arguments: tuple[str, ...]) -> CommandResult:
        return self._node.commands.run((executable, *arguments), STAGED_SECONDS)

    def _carry_out(self, plan: Plan, intent: Record) -> tuple[Record, ReloadReport | None]:
        installer, store = self._node.installer, self._node.store
        if plan.payload.changes and intent.payload is not None:
            installer.stage(plan.payload, self._clock)
            self._clock.check()
            installer.swap(PayloadRecord.from_json(intent.payload))
            log.step(
                "payload.installed",
                "toolkit files are in place",
                path=plan.payload.toolkit_dir,
                digest=plan.payload.digest[:12],
            )
        installer.write_cdi(self._clock)
        for change in plan.differing:
            self._clock.check()
            if self._node.view.read(change.path) != change.now:
                # Theirs would be swept away, and be in no journal.
                raise ConcurrentEditError(
                    f"{change.path} was changed by somebody during the set-up", "start it again"
                )
            write_file(self._node, change.path, change.after, _metadata(intent, change.path))
            log.step("file.written", "written", path=change.path, role=change.role.value)
        self._clock.check()
        deadline = self._clock.now() + self._node.settings.lifecycle.verify_timeout
        if not plan.reload.needed or self._control is None or plan.facts is None:
            if self._control is not None and plan.reload.mode is not RestartMode.NONE:
                self._control.verify(plan.expected, self._clock, deadline)
            return intent, None
        intent = intent.with_state(State.RELOADING)
        store.advance(intent)
        report = self._tell(plan, plan.facts.process, deadline)
        self._control.verify(plan.expected, self._clock, deadline)
        log.step("engine.verified", "the engine serves the handlers", default=plan.expected.default)
        return intent, report

    def _tell(self, plan: Plan, process: EngineProcess | None, deadline: float) -> ReloadReport:
        if self._control is None:
            raise TypeError("nothing to tell")
        self._await_own_container(deadline)
        report = bring_up(self._control, plan.reload.mode, process, self._clock, deadline)
        log.step(
            "engine.reloaded",
            f"{self._control.name} took its config up",
            how=report.mode,
            reason=plan.reload.reason,
            refused_seconds=report.refused,
            seconds=report.answering_after,
        )
        return report

    def _await_own_container(self, deadline: float) -> None:
        """Wait until the engine knows that our own container runs.

        One that is restarted before takes it for a failed start, and ends this very set-up.
        """
        if self._control is None:
            return
        end = min(deadline, self._clock.now() + OWN_START_SECONDS)
        while self._control.own_container_running(end) is False:
            if self._clock.now() >= end:
                log.warning("container.starting", "our own container is still not reported running")
                return
            self._clock.sleep(OWN_START_POLL)

    def _intent(self, plan: Plan, record: Record | None) -> tuple[Record, tuple[bytes | None, ...]]:
        """Return the intent and every content that it names."""
        files = []
        contents: list[bytes | None] = []
        directories = list(record.directories) if record is not None else []
        for change in plan.changes:
            old = None if record is None else record.file(change.path)
            first = digest_of(change.now) if old is None else old.first
            files.append(
                FileRecord(
                    path=change.path,
                    container_path=self._node.root.access(change.path),
                    format=change.format,
                    role=change.role,
                    first=first,
                    before=digest_of(change.base),
                    start=digest_of(change.now),
                    ours=digest_of(change.after),
                    metadata=self._metadata_before(change, old),
                    extra={} if old is None else old.extra,
                )
            )
            contents += [change.base, change.now, change.after]
            if change.after is not None:
                missing = self._node.writer.missing_directories(posixpath.dirname(change.path))
                directories += [each for each in missing if each not in directories]
        facts = plan.facts
        process = None if facts is None else facts.process
        effective = None if facts is None else facts.effective
        payload = self._node.installer.intent(plan.payload).to_json()
        intent = Record(
            state=State.WRITING,
            version=VERSION,
            engine=None if facts is None else facts.engine,
            socket="" if facts is None else facts.socket,
            unit=None if process is None else process.unit,
            files=tuple(files),
            directories=tuple(directories),
            install_directories=() if record is None else record.install_directories,
            handlers=plan.expected.served,
            default=plan.expected.default,
            previous_handlers=plan.previous_handlers,
            previous_default=plan.previous_default,
            start_handlers=None if effective is None else served(effective),
            start_default=None if effective is None else effective.default,
            reloads=plan.reload.mode is not RestartMode.NONE,
            payload=payload,
            replaced_payload=None if record is None else record.payload,
            extra={} if record is None else record.extra,
        )
        return intent, tuple(contents)

    def _metadata_before(self, change: FileChange, old: FileRecord | None) -> BlobMetadata | None:
        if old is not None and old.metadata is not None:
            return old.metadata
        state = self._node.writer.read(change.path)
        if state is None or change.base is None:
            return None
        return BlobMetadata(
            mode=state.metadata.mode,
            uid=state.metadata.uid,
            gid=state.metadata.gid,
            xattrs=state.metadata.xattrs,
        )

    def _roll_back(
        self, intent: Record | None, record: Record | None, plan: Plan, cause: Exception
    ) -> None:
        log.warning("setup.undoing", "undoing the set-up", reason=str(cause))
        try:
            if intent is None:
                self._node.store.forget_unfinished(record)
                return
            latest = self._node.store.load_intent() or intent
            self._node.store.retract(latest, record)
            process = None if plan.facts is None else plan.facts.process
            undo(self._node, latest, record, self._control, process)
        except ToolkitError as failure:
            raise NotRestoredError(
                f"{_text(cause)}; and undoing it failed: {failure.message}",
                failure.hint or f"what was there before lies in {self._node.store.directory}",
            ) from cause
        log.step("setup.undone", "the host is as it was before")


def undo(
    node: Node,
    intent: Record,
    record: Record | None,
    control: EngineControl | None,
    process: EngineProcess | None,
) -> None:
    """Take an intent's change back, from any point at which it stopped; signals wait.

    ``control`` is None where no engine has to take the files up. Raises ToolkitError where a file
    can't be written or the engine does not serve what it did.
    """
    clock = UninterruptedClock()
    targets = undo_targets(node, intent)
    told = intent.state is State.RELOADING and control is not None
    made = tuple(
        each for each in intent.directories if record is None or each not in record.directories
    )
    deadline = clock.now() + node.settings.lifecycle.verify_timeout
    staged: tuple[tuple[Target, bytes], ...] = ()
    if told and control is not None:
        facts = control.facts(deadline)
        if facts.process is not None:
            staged = stages_of(node, intent.engine, targets, intent.previous_default)
            try:
                run_stages(node, control, facts.process, staged, clock)
            except ToolkitError:
                put_files_back(node, after_stages(targets, staged), made)
                raise
    put_files_back(node, after_stages(targets, staged), made)
    if told and control is not None and intent.engine is not None:
        mode = node.settings.engines[intent.engine].restart_mode
        expected = state_before(record, intent)
        if staged:
            control.verify(expected, clock, deadline)
        else:
            known = process or process_of(intent)
            bring_back(control, mode, known, expected=expected, clock=clock, deadline=deadline)
    if intent.payload is not None:
        node.installer.undo(PayloadRecord.from_json(intent.payload))
    node.store.abandon(intent, record)


def settle_payload(node: Node, record: Record) -> None:
    """Make the payload and the CDI spec of a committed record final; can be repeated."""
    if record.payload is not None:
        node.installer.commit(PayloadRecord.from_json(record.payload))


def undo_targets(node: Node, intent: Record) -> tuple[Target, ...]:
    """Return what each file of an intent held when it began, with others' edits since then.

    A content that an undoing writes on its way is no edit of others.
    """
    targets = []
    for each in intent.files:
        now = node.view.read(each.path)
        start, ours = node.store.blob(each.start), node.store.blob(each.ours)
        known: tuple[bytes | None, ...] = (ours,)
        if intent.engine is not None:
            stages = node.adapter(intent.engine).revert_stages
            known = (ours, *stages(ours, start, intent.previous_default))
        content = start if now in known else merged(each.path, each.format, start, ours, now)
        targets.append(Target(record=each, now=now, content=content))
    return tuple(targets)


def committed(intent: Record) -> Record:
    """Return the record in force: files that hold nothing of ours need none."""
    files = tuple(
        replace(each, start=each.ours) for each in intent.files if each.ours != each.before
    )
    return replace(
        intent,
        state=State.COMMITTED,
        files=files,
        replaced_payload=None,
        start_handlers=None,
        start_default=None,
    )


def _meant(request: ConfigRequest, record: Record | None) -> ConfigRequest:
    """Return what may differ: with what is wanted now, also what an earlier set-up wanted."""
    if record is None:
        return request
    earlier = tuple(RuntimeHandler(name=name, binary_path=path) for name, path in record.handlers)
    desired = replace(
        request.desired,
        handlers=(*request.desired.handlers, *earlier),
        default=request.desired.default or record.default,
    )
    return replace(request, desired=desired)


def _metadata(intent: Record, path: str) -> BlobMetadata | None:
    found = intent.file(path)
    return None if found is None else found.metadata


def _same_complaint(one: CommandResult, other: CommandResult) -> bool:
    """Tell whether two refusals say the same, whatever files they name."""
    return one.status != 0 and _PATH.sub("", one.reason) == _PATH.sub("", other.reason)


def _serving(plan: Plan, report: ReloadReport | None) -> EngineProcess | None:
    if report is not None:
        return report.process
    return None if plan.facts is None else plan.facts.process


def _edit(change: FileChange) -> FileEdit:
    return FileEdit(
        path=change.path,
        before=change.now,
        after=change.after,
        format=change.format,
        role=change.role,
    )


def _text(cause: Exception) -> str:
    return cause.message if isinstance(cause, ToolkitError) else f"{type(cause).__name__}: {cause}"
