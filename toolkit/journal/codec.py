"""The journal's JSON form: later versions read it, and earlier ones preserve unknown fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from toolkit.errors import JournalError, NewerJournalError
from toolkit.journal.record import FileRecord, Record

SCHEMA_MAJOR = 1
"""A record with a higher major version was written by a newer program and is not touched."""
SCHEMA_MINOR = 3
_ASKED_FOR = "container_path"
"""A file's field without which 0.1.0 rejects a record; it may read ours after a downgrade."""
Parsed = TypeVar("Parsed", bound=Struct)


def encode(record: Record) -> bytes:
    """Return the record's JSON form."""
    document = flat(record)
    document["schema"] = {"major": SCHEMA_MAJOR, "minor": SCHEMA_MINOR}
    document["files"] = [_file_form(each) for each in record.files]
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def decode(content: bytes, path: str) -> Record:
    """Parse a record; ``path`` is named in messages.

    Raises NewerJournalError for a record that a newer program wrote, JournalError for a damaged
    one.
    """
    try:
        document = json.loads(content)
        major = document.pop("schema")["major"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, error) from error
    if not isinstance(major, int) or major > SCHEMA_MAJOR:
        raise NewerJournalError(
            f"{path}: a newer version of this program wrote it"
            f" (schema {major}, known: {SCHEMA_MAJOR})",
            "run that version, or let it revert first; nothing was changed",
        )
    try:
        files = msgspec.convert(document.pop("files"), list[dict[str, Any]])
        return replace(parse(document, Record), files=tuple(map(_file, files)))
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def flat(record: Struct) -> dict[str, Any]:
    """Return a record's fields merged with its ``extra``, bytes in base64."""
    document: dict[str, Any] = msgspec.to_builtins(record)
    return {**document.pop("extra"), **document}


def parse(document: Mapping[str, Any], kind: type[Parsed]) -> Parsed:
    """Return the record of a document from ``flat``; unknown fields become its ``extra``.

    Raises ValueError, naming the field, for any other document.
    """
    known = {name: document[name] for name in kind.__struct_fields__ if name in document}
    extra = {name: value for name, value in document.items() if name not in known}
    return msgspec.convert({**known, "extra": extra}, kind)


def _file_form(record: FileRecord) -> dict[str, Any]:
    document = {_ASKED_FOR: record.path, **flat(record)}
    if record.metadata is not None:
        document["metadata"]["mode"] = f"{record.metadata.mode:04o}"
    return document


def _file(document: dict[str, Any]) -> FileRecord:
    document.pop(_ASKED_FOR, None)
    if document.get("metadata") is not None:
        document["metadata"]["mode"] = int(document["metadata"]["mode"], 8)
    return parse(document, FileRecord)


def _damaged(path: str, error: Exception) -> JournalError:
    return JournalError(
        f"{path}: damaged journal ({type(error).__name__}: {error})",
        "the original files are in the blobs directory beside it; nothing was changed",
    )
