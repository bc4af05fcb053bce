"""The engine's files in a rollback, recovery or revert: their content, and the write."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Sequence

from msgspec import Struct

from runtime_configs.model import EngineName
from runtime_configs.overlay import Snapshot
from toolkit import logs
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import EngineProcess, Expectation
from toolkit.errors import ConcurrentEditError
from toolkit.host.writer import FileMetadata
from toolkit.journal.baseline import baselines, restore_if_deleted, strip_our_changes
from toolkit.journal.record import FileRecord, Record
from toolkit.node import Node
from toolkit.undo.recovery import clean_directories

log = logs.get(__name__)

WRITE_ATTEMPTS = 5
"""How often to retry a file that another process writes at the same time."""


class Target(Struct, frozen=True, kw_only=True):
    """A file and the content to restore."""

    record: FileRecord
    now: bytes | None
    content: bytes | None

    @property
    def differs(self) -> bool:
        """True where the file has to be written."""
        return self.now != self.content


Stage = tuple[Target, bytes]
"""A temporary content, with which a live reload makes the engine drop its old default."""


class Aim(Struct, frozen=True, kw_only=True):
    """The state to restore, and how long that may take."""

    record: Record
    """The change to undo: the intent of an unfinished one, or the journal in force."""
    targets: tuple[Target, ...]
    stages: tuple[Stage, ...]
    """Written and reloaded first, if a live reload of the targets alone is not enough."""
    directories: tuple[str, ...]
    """Our directories; removed if they are empty."""
    expected: Expectation
    """What the engine serves in that state."""
    loaded: bool
    """The engine may have loaded our files, according to the journal and the files."""
    control: EngineControl | None
    """None where no engine is asked."""
    seconds: float
    """How long the engine may take."""
    flag: str
    """The flag that sets these seconds."""
    known: EngineProcess | None = None
    """The earlier process, from which a dead engine is started; None: it is not started."""
    broken: bool = False
    """The engine served nothing before the change either."""
    release: Callable[[], None] = lambda: None
    """Removes the payload before a reload, for an engine that would find it by itself."""


def targets_at_start(node: Node, intent: Record) -> tuple[Target, ...]:
    """Return the content of each file when the intent began, with others' edits since then.

    A repair restores a file that was deleted, and so does its rollback. A stage that a rollback
    writes in between does not count as an edit.
    """
    adapter = None if intent.engine is None else node.adapter(intent.engine)
    targets = []
    for each in intent.files:
        now = node.view.read(each.path)
        start, ours = node.store.blob(each.start), node.store.blob(each.ours)
        known: tuple[bytes | None, ...] = (ours,)
        if adapter is not None:
            default = intent.default or intent.previous_default
            known = (
                ours,
                *adapter.revert_stages(ours, start, intent.previous_default),
                *adapter.revert_stages(start, ours, default),
            )
        if start is None and restore_if_deleted(each):
            # The file was lost when a repair began: the engine needs one to start.
            start = node.store.blob(each.before)
        content = start if now in known else strip_our_changes(each, start, ours, now, adapter)
        targets.append(Target(record=each, now=now, content=content))
    return tuple(targets)


def targets_before_us(
    node: Node, record: Record, lost: Callable[[str], bool] = lambda _path: False
) -> tuple[Target, ...]:
    """Return the content that a revert gives to each file of a record.

    A file that was deleted stays deleted, unless it is ``lost``.
    """
    view = Snapshot(node.view)
    found = baselines(record, view, node.store.blob, node.adapter, lost=lost)
    return tuple(
        Target(record=each, now=view.read(each.path), content=found[each.path])
        for each in record.files
    )


def stages_of(
    node: Node, record: Record, targets: Sequence[Target], previous_default: str | None
) -> tuple[Stage, ...]:
    """Return the contents that have to be reloaded one by one before the targets count.

    Includes files that are restored already, as the engine may still use what we wrote there.
    """
    if record.engine is None:
        return ()
    stages = node.adapter(record.engine).revert_stages
    return tuple(
        (target, stage)
        for target in targets
        for stage in stages(target.now, target.content, previous_default)
        or stages(node.store.blob(target.record.ours), target.content, previous_default)
    )


def write_file(
    node: Node,
    path: str,
    content: bytes | None,
    metadata: FileMetadata | None,
    instead_of: Collection[bytes | None],
) -> None:
    """Write or remove one file; a new one gets the metadata of the original file.

    Raises ConcurrentEditError if the present content is not one of these.
    """
    if content is None:
        node.writer.remove(path, instead_of=instead_of)
        return
    node.writer.make_directories(posixpath.dirname(path))
    known = metadata if node.view.read(path) is None else None
    node.writer.write(path, content, known, instead_of=instead_of)


def restore_files(node: Node, aim: Aim) -> None:
    """Restore every file from its content or stage, and keep edits made meanwhile.

    Raises HostPathError where the disk refuses, EngineConfigError for a file that another process
    leaves in a state that cannot be merged.
    """
    clean_directories(node, (each.record.path for each in aim.targets))
    for target in reversed(aim.targets):
        ours = (target.now, *(content for other, content in aim.stages if other is target))
        _restore_file(node, aim.record.engine, target, ours)
    for path in sorted(aim.directories, key=len, reverse=True):
        node.writer.remove_directory(path)


def _restore_file(
    node: Node, engine: EngineName | None, target: Target, ours: Sequence[bytes | None]
) -> None:
    path = target.record.path
    took = logs.stopwatch()
    for attempt in range(WRITE_ATTEMPTS):
        now = node.view.read(path)
        content = _content(node, engine, target, ours, now)
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


def _content(
    node: Node,
    engine: EngineName | None,
    target: Target,
    ours: Sequence[bytes | None],
    now: bytes | None,
) -> bytes | None:
    """Return the content for a file that may have been edited since it was looked at."""
    if now == target.content or now in ours or (now is None and restore_if_deleted(target.record)):
        return target.content
    adapter = None if engine is None else node.adapter(engine)
    for each in ours:
        now = strip_our_changes(target.record, target.content, each, now, adapter)
    return now
