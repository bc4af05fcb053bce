"""Put files of an engine back: one way for rollback, recovery and revert."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Sequence

from msgspec import Struct
from msgspec.structs import replace

from runtime_configs.model import EngineName
from toolkit import logs
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import EngineProcess, HostFacts
from toolkit.errors import ConcurrentEditError, ToolkitError
from toolkit.host.clock import Clock, UninterruptedClock
from toolkit.host.writer import FileMetadata
from toolkit.journal.baseline import baselines, restore_if_deleted, strip_our_changes
from toolkit.journal.record import FileRecord, Record
from toolkit.node import Node, engine_of
from toolkit.settings import RestartMode

log = logs.get(__name__)

STAGE_SECONDS = 0.7
"""Limit for the live reload of a stage: at SIGTERM the files are back within a second."""

WRITE_ATTEMPTS = 5
"""How often a file is restored that somebody writes at the same moment."""


class Target(Struct, frozen=True, kw_only=True):
    """A file and what it should hold again."""

    record: FileRecord
    now: bytes | None
    content: bytes | None
    between: tuple[bytes, ...] = ()
    """What it holds for a moment on the way, while the engine is led back in stages."""

    @property
    def differs(self) -> bool:
        """True where something has to be written."""
        return self.now != self.content


class WayBack(Struct, frozen=True, kw_only=True):
    """The targets, and the engine that has to be led back to them in stages, if it runs."""

    engine: EngineName | None
    targets: tuple[Target, ...]
    control: EngineControl | None = None
    process: EngineProcess | None = None

    @property
    def staged(self) -> bool:
        """True where the engine is told on the way, so that it need not be afterwards."""
        return any(each.between for each in self.targets)


def write_file(
    node: Node,
    path: str,
    content: bytes | None,
    metadata: FileMetadata | None,
    instead_of: Collection[bytes | None],
) -> None:
    """Write or remove one file; a new one gets the metadata of the file that once was there.

    Raises ConcurrentEditError where it holds something else than one of these contents.
    """
    if content is None:
        node.writer.remove(path, instead_of=instead_of)
        return
    node.writer.make_directories(posixpath.dirname(path))
    known = metadata if node.view.read(path) is None else None
    node.writer.write(path, content, known, instead_of=instead_of)


def way_back(
    node: Node,
    record: Record,
    targets: Sequence[Target],
    control: EngineControl | None,
    seconds: float,
) -> WayBack:
    """Find out how the engine gets back to the targets; one that can't be asked gets no stages."""
    found = WayBack(engine=record.engine, targets=tuple(targets))
    stages = stages_of(node, record.engine, targets, record.previous_default)
    if not stages or control is None:
        return found
    facts = facts_of(control, seconds)
    if facts is None or facts.process is None:
        return found
    staged = tuple(
        replace(each, between=tuple(content for target, content in stages if target is each))
        for each in targets
    )
    return replace(found, targets=staged, control=control, process=facts.process)


def facts_of(control: EngineControl, seconds: float) -> HostFacts | None:
    """Look at the engine; None where that is not possible, which keeps nobody from going on."""
    try:
        return control.facts(UninterruptedClock().now() + seconds)
    except ToolkitError as error:
        log.warning("engine.unreachable", "the engine could not be asked", reason=str(error))
        return None


def contents_before_us(node: Node, record: Record, seconds: float) -> dict[str, bytes | None]:
    """Return what each file of a record goes back to in a revert; asks the engine for so long.

    A file that somebody deleted stays deleted, but for one that the engine does not start without.
    """
    return baselines(
        record,
        node.view,
        node.store.blob,
        node.adapter,
        lost=lambda path: _started_with(node, record, path, seconds),
    )


def _started_with(node: Node, record: Record, path: str, seconds: float) -> bool:
    """Tell whether the engine was told of a file by its arguments, and dies without it.

    One that does not run at this moment may be waiting for just that file.
    """
    control = engine_of(node, record)
    if control is None or not record.reloads:
        return False
    facts = facts_of(control, seconds)
    process = None if facts is None else facts.process
    return process is None or any(path in each for each in process.arguments)


def put_back(
    node: Node, way: WayBack, directories: Sequence[str], clock: Clock
) -> ToolkitError | None:
    """Put every file back, whatever the engine does on the way; return what it failed with.

    Directories of ours that are empty then are removed. Raises HostPathError where the disk
    refuses, EngineConfigError for a file that somebody leaves at this moment as it can't be merged.
    """
    failure = None
    if way.control is not None and way.process is not None:
        stages = [(target, content) for target in way.targets for content in target.between]
        try:
            run_stages(node, way.control, way.process, stages, clock)
        except ToolkitError as error:
            failure = error
    for target in reversed(way.targets):
        _put_file_back(node, way.engine, target)
        directory = posixpath.dirname(target.record.path)
        if not node.writer.missing_directories(directory):
            node.writer.clean_leftovers(directory)
    for path in sorted(directories, key=len, reverse=True):
        node.writer.remove_directory(path)
    return failure


def _put_file_back(node: Node, engine: EngineName | None, target: Target) -> None:
    path = target.record.path
    took = logs.stopwatch()
    for attempt in range(WRITE_ATTEMPTS):
        now = node.view.read(path)
        content = _aim(node, engine, target, now)
        if now == content:
            return
        try:
            write_file(node, path, content, target.record.metadata, (now,))
        except ConcurrentEditError:
            if attempt == WRITE_ATTEMPTS - 1:
                raise
        else:
            log.step("file.restored", "restored", path=path, seconds=took())
            return


def _aim(node: Node, engine: EngineName | None, target: Target, now: bytes | None) -> bytes | None:
    """Return what a file should hold that may have been edited since it was looked at."""
    ours = (target.now, *target.between)
    if now in ours or (now is None and restore_if_deleted(target.record)):
        return target.content
    adapter = None if engine is None else node.adapter(engine)
    for each in ours:
        now = strip_our_changes(target.record, target.content, each, now, adapter)
    return now


def stages_of(
    node: Node, engine: EngineName | None, targets: Sequence[Target], previous_default: str | None
) -> tuple[tuple[Target, bytes], ...]:
    """Return the contents that have to be reloaded one by one before the targets are restored.

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


def run_stages(
    node: Node,
    control: EngineControl,
    process: EngineProcess,
    stages: Sequence[tuple[Target, bytes]],
    clock: Clock,
) -> None:
    """Write each stage and let the engine load it. Raises what writing and reload raise."""
    for target, stage in stages:
        known = (target.now, *(content for other, content in stages if other is target))
        write_file(node, target.record.path, stage, target.record.metadata, known)
        control.reload(process, RestartMode.SIGNAL, clock, clock.now() + STAGE_SECONDS)
