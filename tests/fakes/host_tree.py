"""A host's files in memory, as an adapter looks at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runtime_configs import glob


@dataclass(frozen=True, slots=True)
class HostTree:
    """Host paths with their bytes."""

    files: Mapping[str, bytes] = field(default_factory=dict)

    def read(self, path: str) -> bytes | None:
        if self.is_directory(path):
            raise IsADirectoryError(path)
        return self.files.get(path)

    def glob(self, pattern: str) -> tuple[str, ...]:
        paths = {path: None for file in self.files for path in (file, *_above(file))}
        found = [path for path in paths if glob.matches(pattern, path)]
        return tuple(sorted(found, key=glob.glob_order))

    def is_directory(self, path: str) -> bool:
        return any(path in _above(file) for file in self.files)


def _above(path: str) -> list[str]:
    """Return the directories that a file lies in, but for the root."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(2, len(parts))]
