"""The journal's JSON form: later versions read it, and earlier ones preserve unknown fields."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from runtime_configs.model import EngineName, Format, Role
from toolkit.errors import JournalError, NewerJournalError
from toolkit.host.writer import FileMetadata
from toolkit.journal.record import FileRecord, Record, State

SCHEMA_MAJOR = 1
"""A record with a higher major version was written by a newer program and is not touched."""
SCHEMA_MINOR = 3
_ASKED_FOR = "container_path"
"""A file's field without which 0.1.0 rejects a record; it may read ours after a downgrade."""


def encode(record: Record) -> bytes:
    """Return the record's JSON form."""
    document: dict[str, object] = dict(record.extra)
    document["schema"] = {"major": SCHEMA_MAJOR, "minor": SCHEMA_MINOR}
    for name in record.__struct_fields__:
        if name not in ("files", "extra"):
            document[name] = getattr(record, name)
    document["files"] = [_encode_file(each) for each in record.files]
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def decode(content: bytes, path: str) -> Record:
    """Parse a record; ``path`` is named in messages.

    Raises NewerJournalError for a record that a newer program wrote, JournalError for a damaged
    one.
    """
    try:
        document = json.loads(content)
        major = document["schema"]["major"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
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
        "the original files are in the blobs directory beside it; nothing was changed",
    )


def _encode_file(record: FileRecord) -> dict[str, object]:
    document: dict[str, object] = {_ASKED_FOR: record.path, **record.extra}
    for name in record.__struct_fields__:
        if name not in ("metadata", "extra"):
            document[name] = getattr(record, name)
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
    known = Record.__struct_fields__
    files = document["files"]
    if not isinstance(files, list):
        raise TypeError("files is not a list")
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
        pid_file=_text(document, "pid_file") if "pid_file" in document else "",
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
        extra={
            name: value
            for name, value in document.items()
            if name not in known and name != "schema"
        },
    )


def _decode_file(document: Mapping[str, object]) -> FileRecord:
    known = {_ASKED_FOR, *FileRecord.__struct_fields__}
    return FileRecord(
        path=_text(document, "path"),
        format=Format(_text(document, "format")),
        role=Role(_text(document, "role")),
        first=_optional_text(document, "first"),
        before=_optional_text(document, "before"),
        start=_optional_text(document, "start"),
        ours=_optional_text(document, "ours"),
        metadata=_decode_metadata(_mapping(document, "metadata")),
        extra={name: value for name, value in document.items() if name not in known},
    )


def _decode_metadata(document: Mapping[str, object] | None) -> FileMetadata | None:
    if document is None:
        return None
    xattrs = _mapping(document, "xattrs") or {}
    uid, gid = document["uid"], document["gid"]
    if not isinstance(uid, int) or not isinstance(gid, int):
        raise TypeError("owner is not a number")
    return FileMetadata(
        mode=int(_text(document, "mode"), 8),
        uid=uid,
        gid=gid,
        xattrs={name: base64.b64decode(str(value)) for name, value in xattrs.items()},
    )


def _text(document: Mapping[str, object], name: str) -> str:
    value = document[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is not a string")
    return value


def _optional_text(document: Mapping[str, object], name: str) -> str | None:
    return None if document.get(name) is None else _text(document, name)


def _texts(document: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = document[name]
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise TypeError(f"{name} is not a list of strings")
    return tuple(value)


def _pairs(document: Mapping[str, object], name: str) -> tuple[tuple[str, str], ...]:
    value = document[name]
    if not isinstance(value, list):
        raise TypeError(f"{name} is not a list")
    return tuple((str(first), str(second)) for first, second in value)


def _mapping(document: Mapping[str, object], name: str) -> Mapping[str, object] | None:
    value = document.get(name)
    if value is not None and not isinstance(value, dict):
        raise TypeError(f"{name} is not a table")
    return value
