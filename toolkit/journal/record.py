"""The durable record: what was changed on the host, and every byte that it replaced.

Two documents of one form: ``journal.json`` tells what is in force, ``intent.json`` a change that
was begun. Contents lie beside them as blobs named by their SHA-256, so that a record is small and
no blob is ever rewritten. This module is the data model; ``codec`` is its text form, ``store``
keeps it on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct, field
from msgspec.structs import replace

from runtime_configs.model import EngineName, Format, Role
from toolkit.host.writer import FileMetadata


class State(StrEnum):
    """How far a record has come."""

    WRITING = "writing"
    """An intent: files are being exchanged, the engine has not been reloaded."""
    RELOADING = "reloading"
    """An intent: the files are in place and the engine may have loaded them."""
    COMMITTED = "committed"
    """In force; the engine served what it describes."""
    REVERTING = "reverting"
    """A revert has begun; it only moves forward."""
    PAYLOAD_KEPT = "payload kept"
    """The engine's files are restored; only the payload is left, since containers need it."""


class FileRecord(Struct, frozen=True, kw_only=True):
    """One file of the engine. Digests are SHA-256 in hexadecimal; None: the file is absent."""

    path: str
    """On the host."""
    container_path: str
    """Where this process opened it."""
    format: Format
    role: Role
    first: str | None
    """The very first bytes that we found."""
    before: str | None
    """The bytes without our change; aim of a revert. Never holds our change."""
    start: str | None
    """What was there when the change of this record began; aim of its undo."""
    ours: str | None
    """What we write, or wrote."""
    metadata: FileMetadata | None = None
    """Of the file before us; None: it was absent."""
    extra: Mapping[str, object] = field(default_factory=dict)

    @property
    def blobs(self) -> frozenset[str]:
        """The digests that this record needs."""
        return frozenset(
            digest
            for digest in (self.first, self.before, self.start, self.ours)
            if digest is not None
        )


class Record(Struct, frozen=True, kw_only=True):
    """One change of the host, begun or in force.

    A field that came with a later minor schema has its default in an earlier record.
    """

    state: State
    version: str
    """The program's version that wrote it."""
    engine: EngineName | None
    """None: files were installed and no engine was touched."""
    socket: str = ""
    unit: str | None = None
    """The systemd unit that starts the engine, should it have to be brought back after a crash."""
    files: tuple[FileRecord, ...] = ()
    directories: tuple[str, ...] = ()
    """Directories on the host that were made for these files, outermost first."""
    install_directories: tuple[str, ...] = ()
    """The same for the install directory, which the journal itself lies in."""
    run_directories: tuple[str, ...] = ()
    """The same for the pid file and the ready file."""
    pid_file: str = ""
    """The lock of the installer that made the change, on the host; empty in an earlier record."""
    handlers: tuple[tuple[str, str], ...] = ()
    """Name and binary path of the handlers that we serve."""
    default: str | None = None
    """The handler that we made the default one."""
    previous_handlers: tuple[tuple[str, str], ...] = ()
    """What the engine served before us."""
    previous_default: str | None = None
    """The engine's default handler before us."""
    start_handlers: tuple[tuple[str, str], ...] | None = None
    """With an intent: what the engine served when it began; None where it was not asked."""
    start_default: str | None = None
    start_lack: str | None = None
    """With an intent: why the engine could serve nothing when it began; None where it could."""
    reloads: bool = True
    """False with restart mode ``none``: the engine is never reloaded."""
    payload: Mapping[str, object] | None = None
    replaced_payload: Mapping[str, object] | None = None
    """With an intent: the payload's record before it."""
    extra: Mapping[str, object] = field(default_factory=dict)
    """Fields of a later minor schema, kept as they are."""

    def file(self, path: str) -> FileRecord | None:
        """Return the record of a host path, or None."""
        return next((each for each in self.files if each.path == path), None)

    @property
    def blobs(self) -> frozenset[str]:
        """The digests that this record needs."""
        return frozenset[str]().union(*(each.blobs for each in self.files))

    @property
    def unfinished(self) -> bool:
        """Whether it is of a setup that has not come to its end."""
        return self.state in (State.WRITING, State.RELOADING)

    def without_files(self) -> Record:
        """Return what is left once the engine's files are restored: the payload."""
        return replace(self, state=State.PAYLOAD_KEPT, files=(), directories=())

    def with_state(self, state: State) -> Record:
        """Return the same record in another state."""
        return replace(self, state=state)


def digest_of(content: bytes | None) -> str | None:
    """Return the SHA-256 of a file's bytes, or None for a file that is absent."""
    return None if content is None else hashlib.sha256(content).hexdigest()


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
        start_lack=None,
    )
