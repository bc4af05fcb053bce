"""A tree replaced file by file, where it can't be exchanged in one step.

No file is missing for a moment; for a moment old and new ones stand side by side. What is replaced
lies beside it as a whole copy until the change is final.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable

from msgspec import Struct

from toolkit.payload.manifest import Entry, EntryKind, listing
from toolkit.payload.source import WRAPPED
from toolkit.payload.tree import Trees


def old_of(staged: str) -> str:
    """Return where the copy of what a staged tree replaces lies."""
    return f"{staged}.old"


class InPlace(Struct, frozen=True, kw_only=True):
    """One directory whose files are replaced or removed by themselves."""

    trees: Trees
    directory: str

    def keep_old(self, staged: str) -> None:
        """Copy what will be replaced, durably: the way back."""
        self.trees.copy(self.directory, old_of(staged))

    def restore(self, staged: str, name: str) -> None:
        """Bring back what was copied, if it was; ``name`` is the one of the replacement."""
        old = old_of(staged)
        if self.trees.there(old):
            self.trees.writer.remove_tree(self._work(name))
            self.replace(old, name)

    def replace(self, source: str, name: str) -> None:
        """Give the directory the content of another one, each file by a rename of its own.

        Libraries come first and wrappers last, and what the source does not have goes at the end.
        The files are prepared inside the directory, below one that has ``name`` in its name.
        """
        wanted = self.trees.describe(source)
        fresh = self._work(name)
        self.trees.copy(source, fresh)
        for each in _in_order(wanted.entries):
            path = posixpath.join(self.directory, each.path)
            self._make_way(path, each.kind)
            if each.kind is EntryKind.DIRECTORY:
                self.trees.writer.make_directories(path, each.mode)
            else:
                self.trees.writer.rename(posixpath.join(fresh, each.path), path)
        self.trees.writer.remove_tree(fresh)
        self._remove(listing(self.trees.at(self.directory)) - wanted.names)

    def empty(self) -> None:
        """Remove all that is in the directory."""
        self._remove(self.trees.describe(self.directory).names)

    def _work(self, name: str) -> str:
        return posixpath.join(self.directory, f".toolkit-{name}.new")

    def _remove(self, names: Iterable[str]) -> None:
        """Remove entries, the deepest first."""
        for name in sorted(names, key=len, reverse=True):
            path = posixpath.join(self.directory, name)
            if self.trees.entry(path).is_dir() and not self.trees.entry(path).is_symlink():
                self.trees.writer.remove_tree(path)
            else:
                self._remove_entry(path)

    def _make_way(self, path: str, kind: EntryKind) -> None:
        """Remove an entry that a rename can't replace: a directory for a file, or the reverse."""
        entry = self.trees.entry(path)
        is_directory = entry.is_dir() and not entry.is_symlink()
        if is_directory and kind is not EntryKind.DIRECTORY:
            self.trees.writer.remove_tree(path)
        elif os.path.lexists(entry) and not is_directory and kind is EntryKind.DIRECTORY:
            self._remove_entry(path)

    def _remove_entry(self, path: str) -> None:
        if self.trees.entry(path).is_symlink():
            self.trees.writer.remove_link(path)
        else:
            self.trees.writer.remove(path)


def _in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Put what others load or start before them: directories, libraries, binaries, wrappers."""
    return sorted(entries, key=lambda each: (_rank(each), each.path))


def _rank(entry: Entry) -> int:
    if entry.kind is EntryKind.DIRECTORY:
        return 0
    if ".so" in entry.path:
        return 1 if entry.kind is EntryKind.FILE else 2
    return 4 if entry.path in WRAPPED else 3
