"""The adapters' read-only view of the host's files, with the engine's glob patterns."""

from __future__ import annotations

import os

from runtime_configs import glob
from toolkit.errors import HostPathError
from toolkit.host.file_state import read_state
from toolkit.host.paths import HostRoot, NoDirectoryError


class HostFilesView:
    """Implements ``HostView``; every path is a host path, links are resolved inside the root."""

    def __init__(self, root: HostRoot) -> None:
        self._root = root

    def read(self, path: str) -> bytes | None:
        """Return the file's bytes, or None if there is no file. Raises HostPathError."""
        try:
            with self._root.held(path) as place:
                state = read_state(place)
        except NoDirectoryError:
            return None
        except OSError as error:
            raise HostPathError(f"cannot read {path}: {error.strerror}") from error
        return state.content if state else None

    def glob(self, pattern: str) -> tuple[str, ...]:
        """Return the matching paths, directory by directory, names sorted bytewise.

        The patterns are those of ``runtime_configs.glob``; a malformed one matches nothing.
        """
        found = ["/"]
        for part in pattern.split("/"):
            if part:
                found = [path for each in found for path in self._matches(each, part)]
        return tuple(found) if pattern.startswith("/") else ()

    def is_directory(self, path: str) -> bool:
        """Return whether the path is a directory itself, not a link to one."""
        place = self._root.entry(path)
        return os.path.isdir(place) and not os.path.islink(place)

    def _matches(self, directory: str, part: str) -> list[str]:
        if not glob.is_special(part):
            path = os.path.join(directory, part)
            return [path] if os.path.lexists(self._root.entry(path)) else []
        try:
            names = os.listdir(self._root.access(directory))
        except OSError:
            return []
        chosen = [name for name in names if glob.matches(part, name)]
        return [os.path.join(directory, name) for name in sorted(chosen, key=os.fsencode)]
