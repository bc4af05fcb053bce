"""The journal on the host, below the install directory, which survives a reboot.

``<install dir>/.toolkit-journal`` has mode 0700 because an engine's config may contain registry
passwords. The journal and the directories created for it appear in one step: they are prepared
under a temporary name beside their final place and renamed. They disappear the same way.
"""

from __future__ import annotations

import contextlib
import glob
import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from msgspec.structs import replace

from runtime_configs.model import HostView
from toolkit.errors import HostPathError, JournalError, NewerJournalError
from toolkit.host.writer import FileMetadata, FileWriter
from toolkit.journal.codec import decode, encode
from toolkit.journal.record import Record, digest_of

JOURNAL_DIRECTORY = ".toolkit-journal"
STAGING_DIRECTORY = ".toolkit-staged"
PRIVATE_FILE = FileMetadata(mode=0o600)
PRIVATE_DIRECTORY = 0o700


class JournalStore:
    """The journal of one install directory. Methods raise HostPathError if the disk refuses."""

    def __init__(self, *, writer: FileWriter, view: HostView, install_dir: str) -> None:
        self._writer = writer
        self._view = view
        self.install_dir = install_dir
        self.directory = posixpath.join(install_dir, JOURNAL_DIRECTORY)

    @property
    def path(self) -> str:
        """Path of the record in force, on the host."""
        return self._path("journal.json")

    @property
    def intent_path(self) -> str:
        """Path of the intent, on the host."""
        return self._path("intent.json")

    def blob_path(self, content: bytes) -> str:
        """Return the host path of the blob with this content."""
        return self._path("blobs", str(digest_of(content)))

    def export(self) -> dict[str, bytes]:
        """Return every file of the journal by its relative path."""
        place = glob.escape(self.directory)
        paths = (*self._view.glob(f"{place}/*"), *self._view.glob(f"{place}/blobs/*"))
        found = {
            posixpath.relpath(path, self.directory): self._view.read(path)
            for path in paths
            if posixpath.basename(path) != "blobs"
        }
        return {name: content for name, content in found.items() if content is not None}

    def restore(self, files: Mapping[str, bytes]) -> bool:
        """Write the missing or damaged files of the journal; return whether there were any.

        Raises NewerJournalError for a journal that must not be touched.
        """
        lost = {
            name: content
            for name, content in files.items()
            if self._view.read(self._path(name)) is None or self._is_damaged(name)
        }
        for name, content in lost.items():
            path = self._path(name)
            self._writer.make_directories(posixpath.dirname(path), PRIVATE_DIRECTORY)
            self._writer.write(path, content, PRIVATE_FILE)
        return bool(lost)

    def load(self) -> Record | None:
        """Return the record in force. Raises JournalError for a record that must not be touched."""
        return self._load("journal.json")

    def load_intent(self) -> Record | None:
        """Return the intent, a change that was begun and not finished."""
        return self._load("intent.json")

    def blob(self, digest: str | None) -> bytes | None:
        """Return the bytes of a digest; None for an absent file.

        Raises JournalError if the blob is missing or damaged.
        """
        if digest is None:
            return None
        path = self._path("blobs", digest)
        content = self._view.read(path)
        if content is None or digest_of(content) != digest:
            raise JournalError(
                f"{path}: the journal's copy of a file is missing or damaged",
                "restore it from a backup, or fix the engine's config by hand"
                f" and remove {self.directory}",
            )
        return content

    def begin(self, intent: Record, contents: Iterable[bytes | None]) -> Record:
        """Write an intent and the contents that it names, before anything else is done.

        Returns the intent with the directories created for the journal itself.
        """
        return self._create("intent.json", intent, contents)

    def adopt(self, record: Record, contents: Iterable[bytes | None]) -> None:
        """Put a record in force where no journal exists, with the contents that it names."""
        self._create("journal.json", record, contents)

    def _create(self, name: str, record: Record, contents: Iterable[bytes | None]) -> Record:
        self.clean()
        missing = self._writer.missing_directories(self.directory)
        if not missing:
            self._write(self.directory, name, record, contents)
            return record
        # The record names the directories that appear with it, so a crash loses none of them.
        record = replace(record, install_directories=missing[:-1] or record.install_directories)
        prepared = _sibling(missing[0], "new")
        inside = prepared + missing[-1][len(missing[0]) :]
        self._writer.make_directories(posixpath.dirname(inside))
        self._writer.make_directories(inside, PRIVATE_DIRECTORY)
        self._write(inside, name, record, contents)
        self._writer.rename(prepared, missing[0])
        return record

    def advance(self, intent: Record) -> None:
        """Save the intent's progress."""
        self._write(self.directory, "intent.json", intent, ())

    def commit(self, record: Record, contents: Iterable[bytes | None] = ()) -> None:
        """Put a record in force and remove the intent, if any."""
        self._write(self.directory, "journal.json", record, contents)
        self._writer.remove(self._path("intent.json"))
        self.tidy(record)

    def undo_commit(self, intent: Record, record: Record | None) -> None:
        """Undo a commit that failed halfway: ``record`` is in force again, or none if None."""
        if self.load() == record:
            return
        # The intent first, so that a crash in between leaves one of the two.
        self.advance(intent)
        if record is None:
            self._writer.remove(self._path("journal.json"))
        else:
            self._write(self.directory, "journal.json", record, ())

    def tidy(self, record: Record) -> None:
        """Remove contents that no record needs; a later run removes what cannot be removed now.

        Must not fail: contents that a rollback would need may already be gone.
        """
        with contextlib.suppress(HostPathError):
            self._remove_blobs_except(record.blobs)

    def abandon(self, intent: Record | None, record: Record | None) -> None:
        """Remove an intent whose change was undone; ``record`` stays in force, or none if None.

        Without either, remove what was created for an intent that is not there.
        """
        if record is not None:
            self._writer.remove(self.intent_path)
            self.tidy(record)
        elif intent is not None:
            self.drop(intent)
        elif not self._writer.missing_directories(self.directory):
            self._writer.remove_tree(self.directory)

    def forget_unfinished(self, record: Record | None) -> None:
        """Remove the remains of an intent that was not written completely."""
        self.clean()
        self.abandon(self.load_intent(), record)

    @contextmanager
    def staging(self) -> Iterator[str]:
        """Yield a private directory on the host that no engine reads; remove it afterwards."""
        missing = self._writer.missing_directories(self.install_dir)
        # A dry run must leave no trace: nothing is created inside a directory that does not exist
        # yet.
        place = posixpath.dirname(missing[0]) if missing else self.install_dir
        directory = posixpath.join(place, STAGING_DIRECTORY)
        self._writer.remove_tree(directory)
        try:
            self._writer.make_directories(directory, PRIVATE_DIRECTORY)
            yield directory
        finally:
            # If it cannot be removed now, the next change tries again before it begins.
            with contextlib.suppress(HostPathError):
                self._writer.remove_tree(directory)

    def drop(self, record: Record) -> None:
        """Remove the journal, and the directories created for it that are empty."""
        # The remains of a dry run would keep the install directory from being removed.
        self._writer.remove_tree(posixpath.join(self.install_dir, STAGING_DIRECTORY))
        made = record.install_directories
        away = _sibling(made[0] if made else self.directory, "old")
        try:
            self._writer.rename(self.directory, away)
        except HostPathError:
            # Another mount is in between, so one step is impossible: the record is removed last.
            self._remove_blobs_except(frozenset())
            away = self.directory
        self._remove_directories(made)
        self._writer.remove_tree(away)
        self._remove_directories(made)

    def clean(self) -> None:
        """Complete a creation or removal of the journal that a crash interrupted."""
        place = self._writer.real_path(self.directory)
        while place not in ("", "/"):
            staged = posixpath.join(posixpath.dirname(place), STAGING_DIRECTORY)
            self._writer.remove_tree(staged)
            for leftover in self._view.glob(glob.escape(_sibling(place, "new"))):
                self._writer.remove_tree(leftover)
            for leftover in self._view.glob(glob.escape(_sibling(place, "old"))):
                self._finish_drop(leftover)
            place = posixpath.dirname(place)

    def _finish_drop(self, leftover: str) -> None:
        for name in ("intent.json", "journal.json"):
            content = self._view.read(posixpath.join(leftover, name))
            if content is not None:
                made = decode(content, posixpath.join(leftover, name)).install_directories
                self._remove_directories(made)
        self._writer.remove_tree(leftover)

    def _remove_directories(self, made: Iterable[str]) -> None:
        for path in sorted(made, key=len, reverse=True):
            self._writer.remove_directory(path)

    def _write(
        self, directory: str, name: str, record: Record, contents: Iterable[bytes | None]
    ) -> None:
        blobs = posixpath.join(directory, "blobs")
        self._writer.make_directories(blobs, PRIVATE_DIRECTORY)
        for content in contents:
            if content is not None:
                path = posixpath.join(blobs, str(digest_of(content)))
                if self._view.read(path) != content:
                    self._writer.write(path, content, PRIVATE_FILE)
        self._writer.write(posixpath.join(directory, name), encode(record), PRIVATE_FILE)

    def _is_damaged(self, name: str) -> bool:
        try:
            if name == "journal.json":
                self.load()
            elif name.startswith("blobs/"):
                self.blob(posixpath.basename(name))
        except NewerJournalError:
            raise
        except JournalError:
            return True
        return False

    def _remove_blobs_except(self, needed: frozenset[str]) -> None:
        for path in self._view.glob(posixpath.join(glob.escape(self._path("blobs")), "*")):
            if posixpath.basename(path) not in needed:
                self._writer.remove(path)

    def _load(self, name: str) -> Record | None:
        path = self._path(name)
        state = self._writer.read(path)
        if state is not None:
            self._require_trusted(path, state.metadata)
        content = self._view.read(path)
        return None if content is None else decode(content, path)

    def _require_trusted(self, path: str, metadata: FileMetadata) -> None:
        """Refuse a journal that another user may have written: it names files to overwrite."""
        if metadata.uid in (0, os.geteuid()) and not metadata.mode & 0o022:
            return
        raise JournalError(
            f"{path}: other users than root can write this journal (owner {metadata.uid}, mode"
            f" {metadata.mode:04o})",
            "check its content; then run 'chown -R root:root' and 'chmod -R go-w' on"
            f" {self.directory}; nothing was changed",
        )

    def _path(self, *names: str) -> str:
        return posixpath.join(self.directory, *names)


def _sibling(path: str, what: str) -> str:
    return posixpath.join(posixpath.dirname(path), f".{posixpath.basename(path)}.toolkit-{what}")
