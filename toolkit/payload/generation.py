"""Generations of the payload: staged beside the installed one and exchanged in one step.

``<install dir>/toolkit`` is complete at every instant. A renamed directory keeps its inode, so
after a crash the inode shows whether the exchange happened.
"""

from __future__ import annotations

import os
import posixpath
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from toolkit import logs
from toolkit.errors import ExchangeUnsupportedError, HostPathError, PayloadError
from toolkit.host.clock import Clock
from toolkit.host.paths import HostRoot
from toolkit.host.regular import open_regular
from toolkit.host.writer import FileWriter
from toolkit.journal.store import JOURNAL_DIRECTORY
from toolkit.payload.file_by_file import InPlace, backup_path
from toolkit.payload.manifest import EntryKind, Stamp, stamp
from toolkit.payload.records import FOREIGN, GenerationState, PayloadRecord
from toolkit.payload.source import WRAPPED
from toolkit.payload.state_file import StateFile
from toolkit.payload.tree import Trees
from toolkit.payload.wrappers import CONFIG_PATHS, MARK

if TYPE_CHECKING:
    from toolkit.payload.contents import Contents

log = logs.get(__name__)
_KEPT = ".toolkit-before"
"""The tree of another installer, restored when ours is removed."""
_LEFTOVER = re.compile(r"\.toolkit-[0-9a-f]{64}(\.old)?")
_UNRECORDED = "unrecorded"
"""Stands for the digest of a tree of ours whose state was lost."""


class Generations:
    """The generations of one install directory. Methods raise HostPathError if the disk refuses."""

    def __init__(self, *, install_dir: str, root: HostRoot, writer: FileWriter) -> None:
        """Set the paths; reads nothing yet."""
        self._trees = Trees(root=root, writer=writer)
        self._writer = writer
        self._install_dir = install_dir
        self.directory = posixpath.join(install_dir, "toolkit")
        self._in_place = InPlace(trees=self._trees, directory=self.directory)
        self._kept = posixpath.join(install_dir, _KEPT)
        state_file = partial(
            StateFile,
            GenerationState,
            writer=writer,
            directory=posixpath.join(install_dir, JOURNAL_DIRECTORY),
        )
        self._installed = state_file(name="payload.json")
        self._staged = state_file(name="payload-staged.json")

    # Queries

    def state(self) -> GenerationState | None:
        """Return the recorded state of the installed generation."""
        return self._installed.load()

    def present(self) -> bool:
        """Return whether anything is at the toolkit directory's path."""
        return self._trees.exists(self.directory)

    def previous(self) -> str | None:
        """Return what a new generation would replace: a digest, ``foreign`` or None."""
        if not self.present():
            return None
        if not self._is_ours(self.directory):
            return FOREIGN
        state = self.state()
        return state.digest if state is not None else _UNRECORDED

    def swapped_in(self) -> GenerationState | None:
        """Return the state of a generation that is in place but not committed."""
        state = self._staged.load()
        return state if state is not None and self._is_swapped_in(state) else None

    def restores_foreign(self) -> bool:
        """Return whether another installer's tree is kept, to be restored by ``remove``."""
        return self._trees.exists(self._kept) and not self._is_ours(self._kept)

    def intact(self, state: GenerationState) -> bool:
        """Return whether the installed files match a state; configs may have been edited."""
        if self._stamps(state) == state.stamps:
            return state.manifest.names == self._trees.describe(self.directory).names
        directory = self._trees.at(self.directory)
        return not state.manifest.differences(directory, exempt=CONFIG_PATHS)

    def staged_path(self, digest: str) -> str:
        """Return the path where a generation is staged."""
        return posixpath.join(self._install_dir, f".toolkit-{digest}")

    # Install

    def stage(self, state: GenerationState, written: Contents, clock: Clock) -> None:
        """Create a generation beside the installed one, durably, and check every byte.

        ``written`` differs from the state in ``config.toml``, where an administrator's settings are
        kept. Raises PayloadError if the copy differs from ``written``.
        """
        self._finish_interrupted()
        self._writer.make_directories(self._install_dir)
        staged = self.staged_path(state.digest)
        wrong = self._trees.create_checked(staged, written.manifest, written.files, clock)
        if wrong or any(stamp(Path(path)) != was[:-1] for path, was in state.sources.items()):
            raise PayloadError(
                f"{staged}: {', '.join(wrong) or 'a file'} differs from the payload",
                "check the disk, and whether something else changes the payload",
            )
        clock.check()
        self._staged.save(replace(state, inode=self._trees.inode(staged) or 0))

    def swap(self, record: PayloadRecord) -> None:
        """Put the staged generation in place."""
        staged = record.staged
        if not self.present():
            self._writer.rename(staged, self.directory)
            return
        if not self._trees.entry(self.directory).is_symlink():
            try:
                self._writer.exchange(staged, self.directory)
            except ExchangeUnsupportedError as error:
                reason = error.message
            else:
                return
        else:
            reason = f"{self.directory} is a symbolic link"
        log.warning(
            "payload.in_place",
            "the toolkit directory can't be exchanged in one step: files are replaced one by one",
            path=self.directory,
            reason=reason,
        )
        state = self._staged.load()
        if state is None:
            raise PayloadError(f"{self._staged.path} is gone: another program removed it")
        self._in_place.back_up(staged)
        self._staged.save(replace(state, in_place=True))
        self._in_place.replace(staged, record.digest)

    def replaced(self, record: PayloadRecord) -> str:
        """Return where the tree lies that a swap has replaced, until the commit."""
        state = self._staged.load()
        in_place = state is not None and state.in_place
        return backup_path(record.staged) if in_place else record.staged

    def commit(self, record: PayloadRecord) -> None:
        """Make the swap final: keep another installer's tree, remove what is left over."""
        state = self._staged.load()
        if state is not None and state.digest == record.digest:
            self._commit(state)
        self._clean()

    # Undo

    def undo(self, record: PayloadRecord) -> None:
        """Restore the replaced generation, however far the change got; can be repeated."""
        state = self._staged.load()
        if state is not None and state.digest == record.digest:
            if state.in_place:
                self._in_place.restore(record.staged, record.digest)
            elif self._trees.inode(self.directory) == state.inode:
                self._exchange_back(record)
            # Last: without this state a repeated undo would take the rest for an interrupted stage.
            self._writer.remove_tree(record.staged)
            self._staged.remove()
        self._clean()

    def remove(self) -> None:
        """Remove the installed generation if it is still ours, and restore the one before us."""
        self._clean()
        state = self.state()
        if state is not None and state.in_place:
            self._remove_in_place(state)
        elif self.present() and self._is_ours(self.directory):
            self._remove_ours(state)
        self._staged.remove()
        self._installed.remove()
        if self.restores_foreign() and not self.present():
            self._writer.rename(self._kept, self.directory)
        # Whatever remains there was restored, was exchanged with ours, or is obsolete.
        self._writer.remove_tree(self._kept)
        self._clean()

    # Steps

    def _exchange_back(self, record: PayloadRecord) -> None:
        if self._trees.exists(record.staged):
            self._writer.exchange(record.staged, self.directory)
        elif record.previous == FOREIGN and self._trees.exists(self._kept):
            self._writer.rename(self._kept, record.staged)
            self._writer.exchange(record.staged, self.directory)
        elif record.previous is None:
            self._writer.rename(self.directory, record.staged)

    def _commit(self, state: GenerationState) -> None:
        staged = self.staged_path(state.digest)
        replaced = backup_path(staged) if state.in_place else staged
        if (
            state.previous == FOREIGN
            and self._trees.exists(replaced)
            and not self._trees.exists(self._kept)
        ):
            self._writer.rename(replaced, self._kept)
        self._installed.save(replace(state, stamps=self._stamps(state), in_place=False))
        self._staged.remove()

    def _finish_interrupted(self) -> None:
        """Complete or discard an interrupted change: commit a swap, drop a stage."""
        state = self._staged.load()
        if state is not None:
            if self._is_swapped_in(state):
                self._commit(state)
            else:
                self._staged.remove()
        self._clean()

    def _remove_ours(self, state: GenerationState | None) -> None:
        """Remove our tree in one step if possible, else file by file."""
        if not self._trees.entry(self.directory).is_symlink():
            try:
                if self.restores_foreign():
                    self._writer.exchange(self._kept, self.directory)
                else:
                    self._writer.rename(self.directory, self.staged_path("0" * 64))
            except HostPathError as error:
                # A mount point: its content can be removed, the directory itself cannot.
                log.debug("payload.in_place", "removed file by file", reason=error.message)
            else:
                return
        self._remove_in_place(state)

    def _remove_in_place(self, state: GenerationState | None) -> None:
        """Remove the tree file by file; saved first, because halfway the tree loses its mark."""
        if state is not None and not state.in_place:
            self._installed.save(replace(state, in_place=True))
        if self.restores_foreign():
            self._in_place.replace(self._kept, "before")
        elif self.present():
            self._in_place.empty()
            if not self._trees.entry(self.directory).is_symlink():
                # It could not be renamed for a reason other than being a mount: remove it.
                self._writer.remove_directory(self.directory)

    def _is_swapped_in(self, state: GenerationState) -> bool:
        return state.in_place or self._trees.inode(self.directory) == state.inode

    def _is_ours(self, directory: str) -> bool:
        """Return whether a tree is ours, by the mark in its wrappers."""
        return any(_has_mark(self._trees.at(directory) / name) for name in WRAPPED)

    def _clean(self) -> None:
        """Remove the remains of a crash; an unfinished swap was completed or undone before."""
        directory = self._trees.at(self._install_dir)
        try:
            names = os.listdir(directory) if directory.is_dir() else []
        except OSError as error:
            reason = f"cannot read directory {self._install_dir}: {error.strerror}"
            raise HostPathError(reason) from error
        for name in filter(_LEFTOVER.fullmatch, names):
            self._writer.remove_tree(posixpath.join(self._install_dir, name))

    def _stamps(self, state: GenerationState) -> dict[str, Stamp]:
        """Return the stamps of files whose content is ours alone."""
        directory = self._trees.at(self.directory)
        found = {}
        for each in state.entries:
            if each.kind is not EntryKind.DIRECTORY and each.path not in CONFIG_PATHS:
                try:
                    found[each.path] = stamp(directory / each.path)
                except OSError:
                    continue
        return found


def _has_mark(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return MARK.encode() in file.read(256)
    except OSError:
        return False
