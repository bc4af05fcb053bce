"""The host's files with some replaced: drafted, staged, or without our change."""

from __future__ import annotations

from collections.abc import Mapping

from runtime_configs import glob
from runtime_configs.model import HostView


class Overlay:
    """Implements ``HostView``. A None in ``files`` stands for an absent file."""

    def __init__(self, view: HostView, files: Mapping[str, bytes | None]) -> None:
        self.present = view
        """The files as they are."""
        self._files = files

    def read(self, path: str) -> bytes | None:
        """Return the file's bytes as they would be."""
        return self._files[path] if path in self._files else self.present.read(path)

    def glob(self, pattern: str) -> tuple[str, ...]:
        """Return the paths that would match."""
        found = {
            path for path in self.present.glob(pattern) if self._files.get(path, b"") is not None
        }
        found |= {
            path
            for path, content in self._files.items()
            if content is not None and glob.matches(pattern, path)
        }
        return tuple(sorted(found, key=glob.glob_order))

    def is_directory(self, path: str) -> bool:
        """Return whether the path would be a directory itself."""
        return path not in self._files and self.present.is_directory(path)


class Snapshot:
    """Implements ``HostView``. Each file is read once, so one decision uses one content of it.

    A line that is appended between two reads would be in one of them only, and be lost.
    """

    def __init__(self, view: HostView) -> None:
        self._view = view
        self._files: dict[str, bytes | None] = {}

    def read(self, path: str) -> bytes | None:
        """Return the file's bytes as they were at the first read."""
        if path not in self._files:
            self._files[path] = self._view.read(path)
        return self._files[path]

    def glob(self, pattern: str) -> tuple[str, ...]:
        """Return the paths that match."""
        return self._view.glob(pattern)

    def is_directory(self, path: str) -> bool:
        """Return whether the path is a directory itself."""
        return self._view.is_directory(path)
