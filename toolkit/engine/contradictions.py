"""Declared paths compared with what the running daemon says."""

from __future__ import annotations

import os
import posixpath

from toolkit.errors import HostPathError
from toolkit.host.paths import HostRoot


class Contradictions:
    """Collects a warning for each declared path that is not the one the daemon uses."""

    def __init__(self, root: HostRoot) -> None:
        self._root = root
        self._found: list[str] = []

    @property
    def found(self) -> tuple[str, ...]:
        """One line each, naming both paths."""
        return tuple(self._found)

    def compare(self, what: str, declared: str, running: str) -> None:
        """Compare a path that the user gave with the daemon's own (a host path)."""
        if not self._same(declared, running):
            self._found.append(
                f"{what} is given as {declared}, but the running daemon uses {running}; "
                "the given one is used"
            )

    def _same(self, declared: str, running: str) -> bool:
        try:
            given = self._root.host_path(declared)
            if self._root.resolve(given) == self._root.resolve(running):
                return True
            seen, actual = self._root.access(given), self._root.access(running)
        except HostPathError:
            return False
        # The place on the host of a mounted directory can't always be told, its inode can.
        return _same_file(seen, actual) or (
            posixpath.basename(seen) == posixpath.basename(actual)
            and _same_file(posixpath.dirname(seen), posixpath.dirname(actual))
        )


def _same_file(first: str, second: str) -> bool:
    try:
        return os.path.samefile(first, second)
    except OSError:
        return False
