"""A host's files in memory, as an adapter looks at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runtime_configs import go_pattern


@dataclass(frozen=True, slots=True)
class HostTree:
    """Host paths with their bytes."""

    files: Mapping[str, bytes] = field(default_factory=dict)

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    def glob(self, pattern: str) -> tuple[str, ...]:
        found = [path for path in self.files if go_pattern.matches(pattern, path)]
        return tuple(sorted(found, key=go_pattern.glob_order))
