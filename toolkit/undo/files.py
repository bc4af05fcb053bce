"""Write the engine's files, for a setup and on the way back."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable

from toolkit import logs
from toolkit.errors import ConcurrentEditError
from toolkit.host.writer import FileMetadata
from toolkit.journal.baseline import restore_if_deleted, strip_our_changes
from toolkit.node import Node
from toolkit.undo.aim import Aim, Target

log = logs.get(__name__)

WRITE_ATTEMPTS = 5
"""How often to retry a file that another process writes at the same time."""


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
    """Give every file its content, and keep edits made meanwhile.

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
    if now in (*target.passed, target.content):
        return target.content
    if now is None and restore_if_deleted(target.record):
        return target.content
    adapter = None if aim.record.engine is None else node.adapter(aim.record.engine)
    for each in target.passed:
        now = strip_our_changes(target.record, target.content, each, now, adapter)
    return now
