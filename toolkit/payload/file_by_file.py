"""Replace a tree file by file, where it cannot be exchanged in one step.

No file is missing at any moment, but old and new files are mixed for a moment. A whole copy of the
old tree stays beside it until the change is final.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from msgspec import Struct

from toolkit.payload.manifest import Entry, EntryKind, listing
from toolkit.payload.source import WRAPPED
from toolkit.payload.tree import Trees


def backup_path(staged: str) -> str:
    """Return the path of the copy of the tree that a staged tree replaces."""
    return f"{staged}.old"


class InPlace(Struct, frozen=True, kw_only=True):
    """One directory whose files are replaced or removed one by one."""

    trees: Trees
    directory: str

    def back_up(self, staged: str) -> None:
        """Copy what will be replaced, durably, so that it can be restored."""
        self.trees.copy(self.directory, backup_path(staged))

    def restore(self, staged: str, name: str) -> None:
        """Restore the copy, if there is one; ``name`` is that of the replacement."""
        old = backup_path(staged)
        if self.trees.exists(old):
            self.trees.writer.remove_tree(self._work(name))
            self.replace(old, name)

    def replace(self, source: str, name: str) -> None:
        """Replace the directory's content with another directory's, one rename per file.

        Libraries come first and wrappers last; files that the source lacks are removed at the end.
        The files are prepared in a subdirectory that has ``name`` in its name.
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
        """Remove everything in the directory."""
        self._remove(self.trees.describe(self.directory).names)

    def _work(self, name: str) -> str:
        return posixpath.join(self.directory, f".toolkit-{name}.new")

    def _remove(self, names: Iterable[str]) -> None:
        """Remove entries, the deepest first."""
        for name in sorted(names, key=len, reverse=True):
            self._remove_entry(posixpath.join(self.directory, name))

    def _make_way(self, path: str, kind: EntryKind) -> None:
        """Remove an entry that a rename cannot replace: a directory for a file, or the reverse."""
        if self.trees.exists(path) and self._is_directory(path) != (kind is EntryKind.DIRECTORY):
            self._remove_entry(path)

    def _remove_entry(self, path: str) -> None:
        if self._is_directory(path):
            self.trees.writer.remove_tree(path)
        elif self.trees.entry(path).is_symlink():
            self.trees.writer.remove_link(path)
        else:
            self.trees.writer.remove(path)

    def _is_directory(self, path: str) -> bool:
        entry = self.trees.entry(path)
        return entry.is_dir() and not entry.is_symlink()


def _in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Sort dependencies first: directories, libraries, binaries, wrappers."""
    return sorted(entries, key=lambda each: (_rank(each), each.path))


def _rank(entry: Entry) -> int:
    if entry.kind is EntryKind.DIRECTORY:
        return 0
    if ".so" in entry.path:
        return 1 if entry.kind is EntryKind.FILE else 2
    return 4 if entry.path in WRAPPED else 3
