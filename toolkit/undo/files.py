"""The engine's files in a rollback, recovery or revert: their content, and the write."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterable

from msgspec import Struct

from runtime_configs.overlay import Snapshot
from toolkit import logs
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import EngineProcess, Expectation
from toolkit.errors import ConcurrentEditError
from toolkit.host.writer import FileMetadata
from toolkit.journal.baseline import baselines, restore_if_deleted, strip_our_changes
from toolkit.journal.record import FileRecord, Record
from toolkit.node import Node

log = logs.get(__name__)

WRITE_ATTEMPTS = 5
"""How often to retry a file that another process writes at the same time."""


class Target(Struct, frozen=True, kw_only=True):
    """A file and the content to restore."""

    record: FileRecord
    now: bytes | None
    content: bytes | None
    stages: tuple[bytes, ...] = ()
    """Contents that are written and reloaded first, one by one: without them a live reload of
    ``content`` would not make the engine drop its old default."""

    @property
    def differs(self) -> bool:
        """True where the file has to be written."""
        return self.now != self.content


class Aim(Struct, frozen=True, kw_only=True):
    """The state to restore: the start of an unfinished change, or the time before us."""

    record: Record
    """The change to undo: the intent of an unfinished one, or the journal in force."""
    targets: tuple[Target, ...]
    directories: tuple[str, ...]
    """Our directories; removed if they are empty."""
    expected: Expectation
    """What the engine serves in that state."""
    loaded: bool
    """The engine may have loaded our files, according to the journal and the files."""
    control: EngineControl | None
    """None where no engine is asked."""
    known: EngineProcess | None = None
    """The earlier process, from which a dead engine is started; None: it is not started."""
    release: Callable[[], None] = lambda: None
    """Removes the payload before a reload, for an engine that would find it by itself."""

    @property
    def staged(self) -> bool:
        """Whether the engine needs more than one reload."""
        return any(each.stages for each in self.targets)


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
            known = (
                ours,
                *adapter.revert_stages(ours, start, intent.previous_default),
                *adapter.revert_stages(start, ours, intent.default or intent.previous_default),
            )
        if start is None and restore_if_deleted(each):
            # The file was lost when a repair began: the engine needs one to start.
            start = node.store.blob(each.before)
        content = start if now in known else strip_our_changes(each, start, ours, now, adapter)
        default = intent.previous_default
        targets.append(target_of(node, intent, each, now, content, default=default))
    return tuple(targets)


def targets_before_us(
    node: Node, record: Record, lost: Callable[[str], bool] = lambda _path: False
) -> tuple[Target, ...]:
    """Return the content that a revert gives to each file of a record.

    A file that was deleted stays deleted, unless it is ``lost``.
    """
    view, default = Snapshot(node.view), record.previous_default
    found = baselines(record, view, node.store.blob, node.adapter, lost=lost)
    return tuple(
        target_of(node, record, each, view.read(each.path), found[each.path], default=default)
        for each in record.files
    )


def target_of(
    node: Node,
    record: Record,
    file: FileRecord,
    now: bytes | None,
    content: bytes | None,
    *,
    default: str | None,
) -> Target:
    """Return a target with the stages on its way; ``default`` is the default handler in the end.

    A file that is restored already may have stages too: the engine may still use what we wrote.
    """
    stages: tuple[bytes, ...] = ()
    if record.engine is not None:
        between = node.adapter(record.engine).revert_stages
        stages = between(now, content, default)
        stages = stages or between(node.store.blob(file.ours), content, default)
    return Target(record=file, now=now, content=content, stages=stages)


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
        _restore_file(node, aim, target)
    for path in sorted(aim.directories, key=len, reverse=True):
        node.writer.remove_directory(path)


def clean_directories(node: Node, paths: Iterable[str]) -> None:
    """Finish or undo interrupted writes to these files; may restore the old content of one."""
    for directory in sorted({posixpath.dirname(each) for each in paths}):
        if not node.writer.missing_directories(directory):
            node.writer.clean_leftovers(directory)


def _restore_file(node: Node, aim: Aim, target: Target) -> None:
    path = target.record.path
    took = logs.stopwatch()
    for attempt in range(WRITE_ATTEMPTS):
        now = node.view.read(path)
        content = _content(node, aim, target, now)
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


def _content(node: Node, aim: Aim, target: Target, now: bytes | None) -> bytes | None:
    """Return the content for a file that may have been edited since it was looked at."""
    ours = (target.now, *target.stages)
    if now == target.content or now in ours or (now is None and restore_if_deleted(target.record)):
        return target.content
    adapter = None if aim.record.engine is None else node.adapter(aim.record.engine)
    for each in ours:
        now = strip_our_changes(target.record, target.content, each, now, adapter)
    return now
