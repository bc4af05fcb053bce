"""Put files of an engine back and tell the engine: one way for rollback, recovery and revert."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace

from runtime_configs.model import EngineName, Role
from toolkit import logs
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import EngineProcess, Expectation, ReloadReport, Supervisor
from toolkit.errors import EngineRejectedError, EngineTimeoutError
from toolkit.host.clock import Clock
from toolkit.host.writer import FileMetadata
from toolkit.journal import BlobMetadata, FileRecord, Record
from toolkit.node import Node
from toolkit.settings import RestartMode

log = logs.get(__name__)

STAGE_SECONDS = 0.7
"""Limit for the live reload of a stage: at SIGTERM the files are back within a second."""

OWN_START_SECONDS = 30.0
"""How long a reload waits for our own container to be reported running."""
OWN_START_POLL = 0.1

SETTLING_SECONDS = 1.0
"""How long an engine that came up by itself may take to serve its handlers before it is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A file and what it should hold again."""

    record: FileRecord
    now: bytes | None
    content: bytes | None

    @property
    def differs(self) -> bool:
        """True where something has to be written."""
        return self.now != self.content


def write_file(node: Node, path: str, content: bytes | None, metadata: BlobMetadata | None) -> None:
    """Write or remove one file; a new one gets the metadata of the file that once was there."""
    if content is None:
        node.writer.remove(path)
        return
    node.writer.make_directories(posixpath.dirname(path))
    known = None
    if metadata is not None and node.view.read(path) is None:
        known = FileMetadata(
            mode=metadata.mode, uid=metadata.uid, gid=metadata.gid, xattrs=metadata.xattrs
        )
    node.writer.write(path, content, known)


def put_files_back(node: Node, targets: Sequence[Target], directories: Sequence[str]) -> bool:
    """Write the targets, last written first, and remove directories of ours that are empty now.

    Returns whether a file that the engine has to take up was changed.
    """
    changed = False
    for target in reversed(targets):
        if target.differs:
            write_file(node, target.record.path, target.content, target.record.metadata)
            log.step("file.restored", "put back", path=target.record.path)
            changed = changed or target.record.role is not Role.HOOK
    for path in sorted(directories, key=len, reverse=True):
        node.writer.remove_directory(path)
    return changed


def stages_of(
    node: Node, engine: EngineName | None, targets: Sequence[Target], previous_default: str | None
) -> tuple[tuple[Target, bytes], ...]:
    """Return the contents that have to be reloaded one by one before the targets are put back.

    Also for a file that is back already: the engine may still have in force what we wrote there.
    """
    if engine is None:
        return ()
    stages = node.adapter(engine).revert_stages
    return tuple(
        (target, stage)
        for target in targets
        for stage in stages(target.now, target.content, previous_default)
        or stages(node.store.blob(target.record.ours), target.content, previous_default)
    )


def after_stages(
    targets: Sequence[Target], stages: Sequence[tuple[Target, bytes]]
) -> tuple[Target, ...]:
    """Return the targets as they are once the stages were written."""
    written = {target.record.path: stage for target, stage in stages}
    return tuple(
        replace(target, now=written.get(target.record.path, target.now)) for target in targets
    )


def run_stages(
    node: Node,
    control: EngineControl,
    process: EngineProcess,
    stages: Sequence[tuple[Target, bytes]],
    clock: Clock,
) -> None:
    """Write each stage and let the engine take it up. Raises what the reload raises."""
    for target, stage in stages:
        write_file(node, target.record.path, stage, target.record.metadata)
        control.reload(process, RestartMode.SIGNAL, clock, clock.now() + STAGE_SECONDS)


def bring_up(
    control: EngineControl,
    mode: RestartMode,
    known: EngineProcess | None,
    clock: Clock,
    deadline: float,
) -> ReloadReport:
    """Make the engine take its files up, also one that did not survive the last attempt.

    ``known`` is the process as it was before; without it a dead engine can't be started.
    """
    facts = control.facts(deadline)
    if facts.process is not None:
        _await_own_container(control, clock, deadline)
        return control.reload(facts.process, mode, clock, deadline)
    if known is None:
        raise EngineTimeoutError(
            f"the engine at {facts.socket} does not run ({facts.unreachable})",
            "start it; its config on disk is the one from before",
        )
    return control.start(known, clock, deadline)


def _await_own_container(control: EngineControl, clock: Clock, deadline: float) -> None:
    """Wait until the engine knows that our own container runs, at most half of the time.

    One that is restarted before takes it for a failed start, and ends this very process.
    """
    began = clock.now()
    end = began + min(OWN_START_SECONDS, (deadline - began) / 2)
    waiting = False
    while control.own_container_running(end) is False:
        if clock.now() >= end:
            log.warning("container.starting", "our own container is still not reported running")
            return
        if not waiting:
            waiting = True
            log.step("container.awaited", "our own container is not reported running yet")
        clock.sleep(OWN_START_POLL)


def bring_back(
    control: EngineControl,
    mode: RestartMode,
    known: EngineProcess | None,
    *,
    expected: Expectation,
    clock: Clock,
    deadline: float,
) -> None:
    """Make the engine serve what its files, which have been put back, say.

    One that was on its way up meanwhile may have read them a moment before: it is told once more.
    Raises what the reload and the verification raise.
    """
    running = control.facts(deadline).process is not None
    bring_up(control, mode, known, clock, deadline)
    if not running:
        try:
            control.verify(expected, clock, min(deadline, clock.now() + SETTLING_SECONDS))
        except (EngineTimeoutError, EngineRejectedError):
            bring_up(control, mode, known, clock, deadline)
        else:
            return
    control.verify(expected, clock, deadline)


def process_of(record: Record) -> EngineProcess | None:
    """Return what the record knows of the engine, enough to start it; None without a unit."""
    if record.unit is None:
        return None
    return EngineProcess(
        pid=0,
        start_time=0,
        executable="",
        arguments=(),
        supervisor=Supervisor.SYSTEMD,
        unit=record.unit,
        parent_pid=0,
    )


def state_before(record: Record | None, intent: Record) -> Expectation:
    """Return what the engine served when the intent's change began."""
    if record is None or not record.files:
        return without_us(intent)
    if intent.start_handlers is None:
        return Expectation(served=record.handlers, default=record.default)
    start = set(intent.start_handlers)
    return Expectation(
        served=tuple(pair for pair in record.handlers if pair in start),
        absent=tuple(pair for pair in intent.handlers if pair not in start),
        default=intent.start_default,
    )


def without_us(record: Record) -> Expectation:
    """Return what the engine serves once the record's change is gone.

    Which handler is the default then is not ours to say: somebody may have chosen a third one.
    """
    before = set(record.previous_handlers)
    return Expectation(
        absent=tuple(pair for pair in record.handlers if pair not in before),
        absent_default=None if record.default == record.previous_default else record.default,
    )
