"""The CDI spec's file on the host, and the record from which it is undone or removed."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from toolkit import logs
from toolkit.host.writer import FileMetadata, FileWriter
from toolkit.journal.record import digest_of
from toolkit.payload.state_file import StateFile

log = logs.get(__name__)

_SPEC = FileMetadata(mode=0o644)


class SpecRecord(Struct, frozen=True, kw_only=True):
    """A spec that we wrote: the content before us, before the last start, and our own digest."""

    path: str
    sha256: str
    """Empty: we removed the spec, since its driver is gone."""
    before: bytes | None
    start: bytes | None
    directories: tuple[str, ...] = ()
    pending: bool = False
    """Written by a setup that may still be undone."""
    going: bool = False
    """Not wanted by a setup that may still be undone."""
    earlier: SpecRecord | None = None
    """The spec at another path that this one replaces, until the setup counts."""

    @property
    def chain(self) -> Iterator[SpecRecord]:
        """The record itself, then those of earlier starts."""
        each: SpecRecord | None = self
        while each is not None:
            yield each
            each = each.earlier


class SpecChange(Struct, frozen=True, kw_only=True):
    """What a setup does to one spec; its content is known only after ``nvidia-ctk`` has run."""

    path: str
    action: str
    """``create``, ``edit`` or ``remove``."""


class SpecFile:
    """The spec of one install directory. Raises HostPathError where the disk refuses."""

    def __init__(self, *, directory: str, writer: FileWriter) -> None:
        """Set the directory of the record, on the host; nothing is read yet."""
        self._record = StateFile(SpecRecord, writer=writer, directory=directory, name="cdi.json")
        self._writer = writer

    def planned(self, path: str | None) -> tuple[SpecChange, ...]:
        """Return what a setup that wants a spec at ``path`` would write and remove; reads only.

        An existing spec of ours is made again, and is not counted here.
        """
        record = self._record.load()
        chain = () if record is None else tuple(record.chain)
        found = []
        if path is not None and not any(
            each.path == path and each.sha256 and self._holds_ours(each) for each in chain
        ):
            there = self._writer.read(path) is not None
            found.append(SpecChange(path=path, action="edit" if there else "create"))
        for each in chain:
            if each.path != path and self._holds_ours(each):
                action = "remove" if each.before is None else "edit"
                found.append(SpecChange(path=each.path, action=action))
        return tuple(found)

    def current(self, path: str) -> bytes | None:
        """Return the present spec, if it is what we wrote."""
        record = self._record.load()
        ours = record is not None and record.path == path and self._holds_ours(record)
        return self._content(path) if ours else None

    def write(self, path: str, content: bytes | None) -> bool:
        """Put the spec in place, or remove it; return whether that was needed."""
        record = self._record.load()
        found = self._content(path)
        same = record if record is not None and record.path == path else None
        ours = same if same is not None and self._holds_ours(same) else None
        if ours is not None and found == content and not ours.going:
            return False
        parent = posixpath.dirname(path)
        missing = () if content is None else self._writer.missing_directories(parent)
        wanted = SpecRecord(
            path=path,
            sha256=_sum(content),
            before=found if ours is None else ours.before,
            start=found,
            directories=missing if ours is None else (*ours.directories, *missing),
            pending=True,
            earlier=record if same is None else same.earlier,
        )
        took = logs.stopwatch()
        self._record.save(wanted)
        if content is None:
            self._writer.remove(path)
            message = "the CDI spec is removed until the driver can be described"
            log.step("cdi.removed", message, path=path)
            return True
        self._writer.make_directories(parent)
        self._writer.write(path, content, _SPEC)
        log.step(
            "cdi.written",
            "the CDI spec for management containers is written",
            path=path,
            seconds=took(),
        )
        return True

    def leave(self) -> None:
        """Record that no spec is wanted any more: the commit removes the present one."""
        record = self._record.load()
        if record is not None:
            self._record.save(replace(record, going=True))

    def undo(self) -> None:
        """Restore the spec from before this setup; can be repeated."""
        record = self._record.load()
        if record is None:
            return
        if record.going:
            self._record.save(replace(record, going=False))
        if not record.pending:
            return
        if self._holds_ours(record):
            self._put(record, record.start)
        if record.start != record.before:
            # An earlier start wrote one, or it was removed with the driver.
            self._record.save(replace(record, sha256=_sum(record.start), pending=False))
            return
        self._remove_directories(record)
        if record.earlier is None:
            self._record.remove()
        else:
            self._record.save(record.earlier)

    def commit(self) -> None:
        """Make the spec final, and remove one that is not wanted any more; can be repeated."""
        record = self._record.load()
        if record is None:
            return
        if record.going:
            self.remove()
        elif record.pending:
            left = [] if record.earlier is None else self._restore_chain(record.earlier)
            directories = (*left, *record.directories)
            self._record.save(replace(record, pending=False, earlier=None, directories=directories))

    def remove(self) -> None:
        """Remove the spec if it is still what we wrote; restore the content from before us."""
        record = self._record.load()
        if record is not None:
            self._restore_chain(record)
            self._record.remove()

    def _restore_chain(self, record: SpecRecord) -> list[str]:
        """Restore the content before each; return the directories that cannot be removed yet."""
        left = []
        for each in record.chain:
            if self._holds_ours(each):
                self._put(each, each.before)
            elif self._content(each.path) != each.before:
                log.warning(
                    "cdi.foreign", "kept the CDI spec: another program changed it", path=each.path
                )
            left += self._remove_directories(each)
        return left

    def _content(self, path: str) -> bytes | None:
        now = self._writer.read(path)
        return None if now is None else now.content

    def _holds_ours(self, record: SpecRecord) -> bool:
        return _sum(self._content(record.path)) == record.sha256

    def _put(self, record: SpecRecord, content: bytes | None) -> None:
        if content is None:
            self._writer.remove(record.path)
        else:
            self._writer.write(record.path, content)

    def _remove_directories(self, record: SpecRecord) -> list[str]:
        """Remove the directories that were made for a spec; return those in use by others."""
        gone = {each: self._writer.remove_directory(each) for each in reversed(record.directories)}
        return [each for each in record.directories if not gone[each]]


def _sum(content: bytes | None) -> str:
    return digest_of(content) or ""
