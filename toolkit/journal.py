"""The durable record: what was changed on the host, and every byte that it replaced.

Two documents of one form: ``journal.json`` tells what is in force, ``intent.json`` a change that
was begun. Contents lie beside them as blobs named by their SHA-256, so that a record is small and
no blob is ever rewritten. This module is the data model and its text form;
``toolkit.host.journal_files`` keeps it on disk.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum

from runtime_configs.model import EngineName, Format, Role
from toolkit.errors import JournalError, NewerJournalError

SCHEMA_MAJOR = 1
"""A record with a higher one was made by a newer program and is not touched."""
SCHEMA_MINOR = 2


class State(StrEnum):
    """How far a record has come."""

    WRITING = "writing"
    """An intent: files are being exchanged, the engine has not been told."""
    RELOADING = "reloading"
    """An intent: the files are in place and the engine may have taken them up."""
    COMMITTED = "committed"
    """In force; the engine served what it describes."""
    REVERTING = "reverting"
    """On the way back; it is never turned round."""
    PAYLOAD_KEPT = "payload kept"
    """The engine's files are back; only the payload is left, since containers need it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobMetadata:
    """Mode, owner and extended attributes that belong to a file's bytes before us."""

    mode: int
    uid: int
    gid: int
    xattrs: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
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
    metadata: BlobMetadata | None = None
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
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
    """False with restart mode ``none``: the engine is never told."""
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

    def with_state(self, state: State) -> Record:
        """Return the same record in another state."""
        return replace(self, state=state)


def digest_of(content: bytes | None) -> str | None:
    """Return the SHA-256 of a file's bytes, or None for a file that is absent."""
    return None if content is None else hashlib.sha256(content).hexdigest()


def encode(record: Record) -> bytes:
    """Return the record's text form."""
    document: dict[str, object] = dict(record.extra)
    document["schema"] = {"major": SCHEMA_MAJOR, "minor": SCHEMA_MINOR}
    for each in fields(record):
        if each.name not in ("files", "extra"):
            document[each.name] = getattr(record, each.name)
    document["files"] = [_encode_file(each) for each in record.files]
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def decode(content: bytes, path: str) -> Record:
    """Read a record back; ``path`` is named in messages.

    Raises NewerJournalError for one that a newer program wrote, JournalError for a damaged one.
    """
    try:
        document = json.loads(content)
        major = document["schema"]["major"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error
    if not isinstance(major, int) or major > SCHEMA_MAJOR:
        raise NewerJournalError(
            f"{path}: a newer version of this program wrote it"
            f" (schema {major}, known: {SCHEMA_MAJOR})",
            "run that version, or let it revert first; nothing was changed",
        )
    try:
        return _decode_record(document)
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: str, error: Exception) -> JournalError:
    return JournalError(
        f"{path}: damaged journal ({type(error).__name__}: {error})",
        "the bytes before us lie in the blobs directory beside it; nothing was changed",
    )


def _encode_file(record: FileRecord) -> dict[str, object]:
    document: dict[str, object] = dict(record.extra)
    for each in fields(record):
        if each.name not in ("metadata", "extra"):
            document[each.name] = getattr(record, each.name)
    if record.metadata is not None:
        document["metadata"] = {
            "mode": f"{record.metadata.mode:04o}",
            "uid": record.metadata.uid,
            "gid": record.metadata.gid,
            "xattrs": {
                name: base64.b64encode(value).decode()
                for name, value in record.metadata.xattrs.items()
            },
        }
    return document


def _decode_record(document: Mapping[str, object]) -> Record:
    known = {each.name for each in fields(Record)}
    files = document["files"]
    if not isinstance(files, list):
        raise TypeError("files is no list")
    engine = _optional_text(document, "engine")
    return Record(
        state=State(_text(document, "state")),
        version=_text(document, "version"),
        engine=None if engine is None else EngineName(engine),
        socket=_text(document, "socket"),
        unit=_optional_text(document, "unit"),
        files=tuple(_decode_file(each) for each in files),
        directories=_texts(document, "directories"),
        install_directories=_texts(document, "install_directories"),
        run_directories=(
            _texts(document, "run_directories") if "run_directories" in document else ()
        ),
        handlers=_pairs(document, "handlers"),
        default=_optional_text(document, "default"),
        previous_handlers=_pairs(document, "previous_handlers"),
        previous_default=_optional_text(document, "previous_default"),
        start_handlers=(
            None if document.get("start_handlers") is None else _pairs(document, "start_handlers")
        ),
        start_default=_optional_text(document, "start_default"),
        start_lack=_optional_text(document, "start_lack"),
        reloads=bool(document["reloads"]),
        payload=_mapping(document, "payload"),
        replaced_payload=_mapping(document, "replaced_payload"),
        extra={
            name: value
            for name, value in document.items()
            if name not in known and name != "schema"
        },
    )


def _decode_file(document: Mapping[str, object]) -> FileRecord:
    known = {each.name for each in fields(FileRecord)}
    return FileRecord(
        path=_text(document, "path"),
        container_path=_text(document, "container_path"),
        format=Format(_text(document, "format")),
        role=Role(_text(document, "role")),
        first=_optional_text(document, "first"),
        before=_optional_text(document, "before"),
        start=_optional_text(document, "start"),
        ours=_optional_text(document, "ours"),
        metadata=_decode_metadata(_mapping(document, "metadata")),
        extra={name: value for name, value in document.items() if name not in known},
    )


def _decode_metadata(document: Mapping[str, object] | None) -> BlobMetadata | None:
    if document is None:
        return None
    xattrs = _mapping(document, "xattrs") or {}
    uid, gid = document["uid"], document["gid"]
    if not isinstance(uid, int) or not isinstance(gid, int):
        raise TypeError("owner is no number")
    return BlobMetadata(
        mode=int(_text(document, "mode"), 8),
        uid=uid,
        gid=gid,
        xattrs={name: base64.b64decode(str(value)) for name, value in xattrs.items()},
    )


def _text(document: Mapping[str, object], name: str) -> str:
    value = document[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return value


def _optional_text(document: Mapping[str, object], name: str) -> str | None:
    return None if document.get(name) is None else _text(document, name)


def _texts(document: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = document[name]
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise TypeError(f"{name} is no list of texts")
    return tuple(value)


def _pairs(document: Mapping[str, object], name: str) -> tuple[tuple[str, str], ...]:
    value = document[name]
    if not isinstance(value, list):
        raise TypeError(f"{name} is no list")
    return tuple((str(first), str(second)) for first, second in value)


def _mapping(document: Mapping[str, object], name: str) -> Mapping[str, object] | None:
    value = document.get(name)
    if value is not None and not isinstance(value, dict):
        raise TypeError(f"{name} is no table")
    return value
