"""Compare the host with the journal: which of our files differ from what we wrote."""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Iterator, Mapping
from enum import StrEnum

from toolkit.daemon.observe import UNKNOWN, executable_signature, signature
from toolkit.engine.executable import chain, obstacle, root_of
from toolkit.errors import HostPathError
from toolkit.host.paths import HostRoot
from toolkit.journal.record import FileRecord, Record, digest_of
from toolkit.node import Node
from toolkit.payload.records import PayloadRecord


class Drift(StrEnum):
    """The present state of a file of ours."""

    NONE = "as we left it"
    CHANGED = "changed by somebody"
    REMOVED = "removed by somebody"


def drift_of(node: Node, file: FileRecord) -> Drift:
    """Return the state of one file in the journal."""
    now = digest_of(node.view.read(file.path))
    if now == file.ours:
        return Drift.NONE
    return Drift.REMOVED if now is None else Drift.CHANGED


def watched(
    node: Node, record: Record | None, earlier: Mapping[str, str] | None
) -> tuple[tuple[str, str], ...]:
    """Return the paths that the keeper watches, as this process opens them, with their signatures.

    These are the engine's files, every file of the toolkit directory, the directory itself (its
    time stamp changes with its entries), the CDI spec and the journal. ``earlier`` has the
    signatures from before a setup that found the files right. None: nothing was found right, and
    only changes from now on are detected.
    """
    if record is None:
        return ()
    found = [(path, _signature(node, each, earlier)) for each, path in _places(node, record)]
    toolkit = _place(node, node.toolkit_dir)
    if toolkit is not None:
        # Taken before the files are compared, so that damage since the setup is detected.
        inside = [(path, signature(path)) for path in _toolkit(toolkit)]
        if earlier is not None and not _is_intact(node, record):
            inside[0] = (toolkit, UNKNOWN)
        found += inside
    for path in (node.installer.cdi.path(), node.store.path):
        place = None if path is None else _place(node, path)
        if place is not None:
            found.append((place, signature(place)))
    return tuple(found)


def executed(
    node: Node, record: Record | None, engine_root: str, *, verified: bool
) -> tuple[tuple[str, str], ...]:
    """Return our binaries that the engine executes, opened through its root, with their signatures.

    ``engine_root`` is where this process sees the engine's root directory; empty where it is not
    known. Without ``verified`` nothing was found right, and the signatures are those of now.
    """
    root = root_of(engine_root, node.root)
    if record is None or root is None or root is node.root:
        return ()
    found = [
        (path, executable_signature(engine_root + path)) for path in _programs(node, record, root)
    ]
    # Looked at after the signatures, so that a mount over it since the setup is detected.
    known = [path for path, _ in found if obstacle(root, path) is None]
    return tuple(
        (engine_root + path, seen if path in known or not verified else UNKNOWN)
        for path, seen in found
    )


def _programs(node: Node, record: Record, root: HostRoot) -> tuple[str, ...]:
    """Return the binaries of our handlers, the binaries that those run, and their interpreters."""
    paths: dict[str, None] = {}
    for _, binary in record.handlers:
        for each in (binary, *(file.path for file in node.installer.programs(binary))):
            for program in chain(root, each):
                with contextlib.suppress(HostPathError):
                    paths[root.resolve(program)] = None
    return tuple(paths)


def signatures(node: Node, record: Record | None) -> dict[str, str]:
    """Return the signature of each of the engine's files, with any content."""
    places = () if record is None else _places(node, record)
    return {path: signature(path) for _, path in places}


def greeting_of(record: Record | None) -> bytes:
    """Return the bytes that make the engine answer; empty where no engine is watched."""
    if record is None or record.engine is None:
        return b""
    from toolkit.engine.process import peer

    return peer.greeting_of(record.engine)


def _toolkit(directory: str) -> Iterator[str]:
    """Yield a directory and everything below it except links, which lead to files in it."""
    yield directory
    for above, names, files in os.walk(directory):
        for name in (*names, *files):
            path = posixpath.join(above, name)
            if not os.path.islink(path):
                yield path


def _places(node: Node, record: Record) -> list[tuple[FileRecord, str]]:
    """Return the engine's files with the paths at which this process opens them."""
    pairs = [(each, _place(node, each.path)) for each in record.files]
    return [(each, path) for each, path in pairs if path is not None]


def _place(node: Node, path: str) -> str | None:
    """Return where this process opens a host path; the path itself if its links lead nowhere."""
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

    Taken before the content is read. Otherwise an edit between the setup and this moment would
    count as ours and never be detected. A file that the setup read and found right keeps the
    signature from then.
    """
    path = _place(node, file.path) or file.path
    found = signature(path)
    if earlier is None or earlier.get(path) == found:
        return found
    try:
        return found if drift_of(node, file) is Drift.NONE else UNKNOWN
    except HostPathError:
        return UNKNOWN
