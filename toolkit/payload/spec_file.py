"""The CDI spec's file on the host, and the record by which it is undone and removed again."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import posixpath
from dataclasses import dataclass, replace

from toolkit import logs
from toolkit.host.journal_files import PRIVATE_DIRECTORY, PRIVATE_FILE
from toolkit.host.writer import FileMetadata, FileWriter

log = logs.get(__name__)

_SPEC = FileMetadata(mode=0o644)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecRecord:
    """A spec that we wrote: what was there before us, before the last start, and our own sum."""

    path: str
    sha256: str
    before: bytes | None
    start: bytes | None
    directories: tuple[str, ...] = ()
    pending: bool = False
    """Written by a set-up that may still be undone."""

    def encode(self) -> bytes:
        """Return the text form."""
        document = {
            "path": self.path,
            "sha256": self.sha256,
            "before": _encoded(self.before),
            "start": _encoded(self.start),
            "directories": list(self.directories),
            "pending": self.pending,
        }
        return json.dumps(document).encode() + b"\n"

    @classmethod
    def decode(cls, content: bytes) -> SpecRecord | None:
        """Read it back; None for one that is damaged: its spec is then nobody's."""
        try:
            document = json.loads(content)
            return cls(
                path=document["path"],
                sha256=document["sha256"],
                before=_decoded(document["before"]),
                start=_decoded(document["start"]),
                directories=tuple(document["directories"]),
                pending=bool(document["pending"]),
            )
        except (ValueError, KeyError, TypeError, binascii.Error):
            return None


class SpecFile:
    """The spec of one install directory. Raises HostPathError where the disk refuses."""

    def __init__(self, *, directory: str, writer: FileWriter) -> None:
        """Name the directory, on the host, that the record is kept in; nothing is read yet."""
        self.directory = directory
        self._record = posixpath.join(directory, "cdi.json")
        self._writer = writer

    def make_way(self, path: str) -> None:
        """Remove the spec of an earlier start where it has another path than the one wanted now."""
        record = self._load()
        if record is not None and record.path != path:
            self.remove()

    def write(self, path: str, content: bytes) -> None:
        """Put the spec in place; nothing is written where it is there already."""
        record = self._load()
        now = self._writer.read(path)
        found = now.content if now is not None else None
        ours = record is not None and self._holds_ours(record)
        if ours and found == content:
            return
        parent = posixpath.dirname(path)
        missing = self._writer.missing_directories(parent)
        wanted = SpecRecord(
            path=path,
            sha256=_sum(content),
            before=record.before if ours and record is not None else found,
            start=found,
            directories=record.directories if ours and record is not None else missing,
            pending=True,
        )
        self._writer.make_directories(self.directory, PRIVATE_DIRECTORY)
        self._save(wanted)
        self._writer.make_directories(parent)
        self._writer.write(path, content, _SPEC)
        log.step("cdi.written", "the CDI spec for management containers is written", path=path)

    def undo(self) -> None:
        """Bring back the spec that was there when this set-up began; can be repeated."""
        record = self._load()
        if record is None or not record.pending:
            return
        if self._holds_ours(record):
            self._put(record, record.start)
        if record.start is None or record.start == record.before:
            self._forget(record)
        else:
            self._save(replace(record, sha256=_sum(record.start), pending=False))

    def commit(self, path: str | None) -> None:
        """Make the spec final; one of an earlier start that is not wanted any more goes.

        ``path`` is where one is wanted now; None: nowhere.
        """
        record = self._load()
        if record is None:
            return
        if path != record.path:
            self.remove()
        elif record.pending:
            self._save(replace(record, pending=False))

    def remove(self) -> None:
        """Remove the spec if it still is what we wrote; bring back what was there before us."""
        record = self._load()
        if record is None:
            return
        if self._holds_ours(record):
            self._put(record, record.before)
        else:
            log.warning(
                "cdi.foreign", "the CDI spec was changed by somebody and stays", path=record.path
            )
        self._forget(record)

    def _holds_ours(self, record: SpecRecord) -> bool:
        now = self._writer.read(record.path)
        return now is not None and _sum(now.content) == record.sha256

    def _put(self, record: SpecRecord, content: bytes | None) -> None:
        if content is None:
            self._writer.remove(record.path)
        else:
            self._writer.write(record.path, content)

    def _forget(self, record: SpecRecord) -> None:
        for directory in reversed(record.directories):
            self._writer.remove_directory(directory)
        self._writer.remove(self._record)

    def _load(self) -> SpecRecord | None:
        state = self._writer.read(self._record)
        return SpecRecord.decode(state.content) if state is not None else None

    def _save(self, record: SpecRecord) -> None:
        self._writer.write(self._record, record.encode(), PRIVATE_FILE)


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _encoded(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode()


def _decoded(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)
