"""The durable record: what was changed on the host, and every byte that was replaced.

Two documents of one form: ``journal.json`` describes what is in force, ``intent.json`` a change
that has begun. File contents are stored beside them as blobs named by their SHA-256, so a record is
small and a blob is never rewritten. This module is the data model; ``codec`` is its JSON form, and
``store`` keeps it on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from itertools import chain

from msgspec import Struct, field
from msgspec.structs import replace

from runtime_configs.model import EngineName, Format, Role
from toolkit.host.writer import FileMetadata


class State(StrEnum):
    """The progress of a record."""

    WRITING = "writing"
    """An intent: files are being replaced, the engine has not been reloaded."""
    RELOADING = "reloading"
    """An intent: the files are in place and the engine may have loaded them."""
    COMMITTED = "committed"
    """In force; the engine served what the record describes."""
    REVERTING = "reverting"
    """A revert has begun; it only moves forward."""
    PAYLOAD_KEPT = "payload kept"
    """The engine's files are restored; only the payload remains, because containers use it."""


class FileRecord(Struct, frozen=True, kw_only=True):
    """One file of the engine. Digests are SHA-256 in hexadecimal, or None for an absent file."""

    path: str
    """Path on the host."""
    format: Format
    role: Role
    first: str | None
    """The first content ever found."""
    before: str | None
    """The content without our change, which a revert restores."""
    start: str | None
    """The content when the change of this record began, which a rollback restores."""
    ours: str | None
    """The content that we write or wrote."""
    metadata: FileMetadata | None = None
    """Metadata of the file before us; None if it was absent."""
    extra: Mapping[str, object] = field(default_factory=dict)


class Record(Struct, frozen=True, kw_only=True):
    """One change of the host, begun or in force.

    A field added by a later minor schema has its default in an earlier record.
    """

    state: State
    version: str
    """The version of the program that wrote it."""
    engine: EngineName | None
    """None: files were installed and no engine was touched."""
    socket: str = ""
    unit: str | None = None
    """The systemd unit that starts the engine, in case it must be started after a crash."""
    files: tuple[FileRecord, ...] = ()
    directories: tuple[str, ...] = ()
    """Directories on the host created for these files, outermost first."""
    install_directories: tuple[str, ...] = ()
    """The same for the install directory, which contains the journal."""
    run_directories: tuple[str, ...] = ()
    """The same for the pid file and the ready file."""
    pid_file: str = ""
    """The pid file, on the host, of the installer that made the change; empty in an earlier
    record."""
    handlers: tuple[tuple[str, str], ...] = ()
    """Name and binary path of each handler that we add."""
    default: str | None = None
    """The handler that we made the default."""
    previous_handlers: tuple[tuple[str, str], ...] = ()
    """The handlers that the engine served before us."""
    previous_default: str | None = None
    """The engine's default handler before us."""
    start_handlers: tuple[tuple[str, str], ...] | None = None
    """In an intent: the handlers that the engine served when it began; None if it was not asked."""
    start_default: str | None = None
    start_lack: str | None = None
    """In an intent: why the engine could serve nothing when it began; None if it could."""
    reloads: bool = True
    """False with restart mode ``none``: the engine is never reloaded."""
    payload: Mapping[str, object] | None = None
    extra: Mapping[str, object] = field(default_factory=dict)
    """Fields of a later minor schema, preserved."""

    def file(self, path: str) -> FileRecord | None:
        """Return the record of a host path, or None."""
        return next((each for each in self.files if each.path == path), None)

    @property
    def blobs(self) -> frozenset[str]:
        """The digests that this record needs."""
        digests = [(each.first, each.before, each.start, each.ours) for each in self.files]
        return frozenset(each for each in chain.from_iterable(digests) if each is not None)

    @property
    def unfinished(self) -> bool:
        """Whether the record belongs to an unfinished setup."""
        return self.state in (State.WRITING, State.RELOADING)

    def without_files(self) -> Record:
        """Return the record that remains once the engine's files are restored: the payload's."""
        return replace(self, state=State.PAYLOAD_KEPT, files=(), directories=())


def digest_of(content: bytes | None) -> str | None:
    """Return the SHA-256 of a file's bytes, or None for an absent file."""
    return None if content is None else hashlib.sha256(content).hexdigest()


def committed(intent: Record) -> Record:
    """Return the record in force, without the files that contain none of our changes."""
    files = tuple(
        replace(each, start=each.ours) for each in intent.files if each.ours != each.before
    )
    return replace(
        intent,
        state=State.COMMITTED,
        files=files,
        start_handlers=None,
        start_default=None,
        start_lack=None,
    )
