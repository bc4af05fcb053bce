"""Compare the host with the journal: what of ours is not as we left it."""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Iterator, Mapping
from enum import StrEnum

from toolkit.daemon import keeper
from toolkit.engine.executable import chain, obstacle, root_of
from toolkit.errors import HostPathError
from toolkit.host.paths import HostRoot
from toolkit.journal.record import FileRecord, Record, digest_of
from toolkit.node import Node
from toolkit.payload.installer import PayloadRecord

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
    node: Node, record: Record | None, earlier: Mapping[str, str] | None
) -> tuple[tuple[str, str], ...]:
    """Return what the keeper has to look at, as this process opens it, with its signature.

    The engine's files, every file of the toolkit directory, the directory itself, whose time stamp
    tells of any entry that comes or goes, the CDI spec and the journal. ``earlier`` has the
    signatures from before a setup that found the files right as they were; None: nothing was found
    right, and what is there now is only to be told from what comes later.
    """
    if record is None:
        return ()
    found = [(path, _signature(node, each, earlier)) for each, path in _places(node, record)]
    toolkit = _place(node, posixpath.join(node.store.install_dir, "toolkit"))
    if toolkit is not None:
        # Taken before the files are compared: damage between the setup and now is then noticed.
        inside = [(path, keeper.signature(path)) for path in _toolkit(toolkit)]
        if earlier is not None and not _is_intact(node, record):
            inside[0] = (toolkit, UNKNOWN)
        found += inside
    for path in (node.installer.cdi_path(), node.store.path):
        place = None if path is None else _place(node, path)
        if place is not None:
            found.append((place, keeper.signature(place)))
    return tuple(found)


def executed(
    node: Node, record: Record | None, engine_root: str, *, verified: bool
) -> tuple[tuple[str, str], ...]:
    """Return what the engine executes of ours, opened through its root, each with its signature.

    ``engine_root`` is where this process sees the engine's root directory; empty: it is not known.
    Without ``verified`` nothing was found right, and the signatures are those of now.
    """
    root = root_of(engine_root, node.root)
    if record is None or root is None or root is node.root:
        return ()
    found = [
        (path, keeper.executable_signature(engine_root + path))
        for path in _programs(node, record, root)
    ]
    # Looked at after the signatures: what is hidden between the setup and now is then noticed.
    known = [path for path, _ in found if obstacle(root, path) is None]
    unknown = keeper.EXECUTED + UNKNOWN
    return tuple(
        (engine_root + path, seen if path in known or not verified else unknown)
        for path, seen in found
    )


def _programs(node: Node, record: Record, root: HostRoot) -> tuple[str, ...]:
    """Return the binaries of our handlers, what is behind them, and their interpreters."""
    paths: dict[str, None] = {}
    for _, binary in record.handlers:
        for each in (binary, *(file.path for file in node.installer.programs(binary))):
            for program in chain(root, each):
                with contextlib.suppress(HostPathError):
                    paths[root.resolve(program)] = None
    return tuple(paths)


def signatures(node: Node, record: Record | None) -> dict[str, str]:
    """Return the signature of each of the engine's files, whatever it holds."""
    places = () if record is None else _places(node, record)
    return {path: keeper.signature(path) for _, path in places}


def greeting_of(record: Record | None) -> bytes:
    """Return what makes the engine say something; empty where none is watched."""
    if record is None or record.engine is None:
        return b""
    from toolkit.engine.process import peer

    return peer.greeting_of(record.engine)


def _toolkit(directory: str) -> Iterator[str]:
    """Yield a directory and everything below it but links, which lead to files in it."""
    yield directory
    for above, names, files in os.walk(directory):
        for name in (*names, *files):
            path = posixpath.join(above, name)
            if not os.path.islink(path):
                yield path


def _places(node: Node, record: Record) -> list[tuple[FileRecord, str]]:
    """Return the engine's files with where this process opens them."""
    pairs = [(each, _place(node, each.path)) for each in record.files]
    return [(each, path) for each, path in pairs if path is not None]


def _place(node: Node, path: str) -> str | None:
    """Return where this process opens a host path, or where it stands if its links lead nowhere."""
    for where in (node.root.access, node.root.entry):
        try:
            return where(path)
        except HostPathError:
            continue
    return None


def _is_intact(node: Node, record: Record) -> bool:
    if record.payload is None:
        return True
    return node.installer.installed() == PayloadRecord.from_json(record.payload).digest


def _signature(node: Node, file: FileRecord, earlier: Mapping[str, str] | None) -> str:
    """Return the signature of a file as we left it.

    Taken before the content is looked at: an edit between the setup and this moment would else
    be taken for ours, and never be seen. An edit that the setup saw and found no fault with is
    known by the signature that it has had since.
    """
    path = _place(node, file.path) or file.path
    found = keeper.signature(path)
    if earlier is None or earlier.get(path) == found:
        return found
    try:
        return found if drift_of(node, file) is Drift.NONE else UNKNOWN
    except HostPathError:
        return UNKNOWN
