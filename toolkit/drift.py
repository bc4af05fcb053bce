"""Compare the host with the journal: what of ours is not as we left it."""

from __future__ import annotations

import posixpath
from enum import StrEnum

from toolkit.journal import FileRecord, Record, digest_of
from toolkit.node import Node


class Drift(StrEnum):
    """How a file of ours looks now."""

    NONE = "as we left it"
    CHANGED = "changed by somebody"
    REMOVED = "removed by somebody"


def drift_of(node: Node, file: FileRecord) -> Drift:
    """Return how one journalled file looks now."""
    now = digest_of(node.view.read(file.path))
    if now == file.ours:
        return Drift.NONE
    return Drift.REMOVED if now is None else Drift.CHANGED


def watched(node: Node, record: Record | None) -> tuple[str, ...]:
    """Return what the idle process has to look at, as this process opens it.

    The engine's files, the handlers' wrappers, and the toolkit directory itself, whose time stamp
    tells of any entry that comes or goes.
    """
    if record is None:
        return ()
    directory = posixpath.join(node.store.install_dir, "toolkit")
    paths = [each.path for each in record.files]
    paths += [directory, *(path for _, path in record.handlers)]
    return tuple(node.root.access(path) for path in paths)
