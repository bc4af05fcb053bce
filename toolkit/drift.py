"""Compare the host with the journal: what of ours is not as we left it."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping
from enum import StrEnum

from runtime_configs.model import EngineName
from toolkit import idle
from toolkit.journal import FileRecord, Record, digest_of
from toolkit.node import Node

UNKNOWN = "?"
"""No file has this signature."""


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


def watched(
    node: Node, record: Record | None, earlier: Mapping[str, str] | None = None
) -> tuple[tuple[str, str], ...]:
    """Return what the idle process has to look at, as this process opens it, with its signature.

    The engine's files, every file of the toolkit directory, the directory itself, whose time stamp
    tells of any entry that comes or goes, and the CDI spec. ``earlier`` has the signatures from
    before a set-up that found the files right as they were.
    """
    if record is None:
        return ()
    access = node.root.access
    paths = [*_toolkit(access(posixpath.join(node.store.install_dir, "toolkit")))]
    spec = node.installer.cdi_path()
    if spec is not None:
        paths.append(access(spec))
    return (
        *((access(each.path), _signature(node, each, earlier or {})) for each in record.files),
        *((path, idle.signature(path)) for path in paths),
    )


def signatures(node: Node, record: Record | None) -> dict[str, str]:
    """Return the signature of each of the engine's files, whatever it holds."""
    paths = [] if record is None else [node.root.access(each.path) for each in record.files]
    return {path: idle.signature(path) for path in paths}


def greeting_of(record: Record | None) -> bytes:
    """Return what makes the engine say something; empty where none is watched."""
    if record is None or record.engine is None:
        return b""
    from toolkit.engine.peer import DOCKER_GREETING, GRPC_GREETING

    return DOCKER_GREETING if record.engine is EngineName.DOCKER else GRPC_GREETING


def _toolkit(directory: str) -> Iterator[str]:
    """Yield a directory and everything below it but links, which lead to files in it."""
    yield directory
    for above, names, files in os.walk(directory):
        for name in (*names, *files):
            path = posixpath.join(above, name)
            if not os.path.islink(path):
                yield path


def _signature(node: Node, file: FileRecord, earlier: Mapping[str, str]) -> str:
    """Return the signature of a file as we left it.

    Taken before the content is looked at: an edit between the set-up and this moment would else
    be taken for ours, and never be seen. An edit that the set-up saw and found no fault with is
    known by the signature that it has had since.
    """
    path = node.root.access(file.path)
    found = idle.signature(path)
    seen = earlier.get(path) == found
    return found if seen or drift_of(node, file) is Drift.NONE else UNKNOWN
