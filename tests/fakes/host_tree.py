"""A host's files in memory, as an adapter looks at them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class HostTree:
    """Host paths with their bytes; patterns match as in Go: ``*`` takes dotfiles, but no ``/``."""

    files: Mapping[str, bytes] = field(default_factory=dict)

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    def glob(self, pattern: str) -> tuple[str, ...]:
        parts = re.split(r"(\*|\?|\[[^\]]*\])", pattern)
        known = {"*": "[^/]*", "?": "[^/]"}
        expression = "".join(
            known.get(part, part if part.startswith("[") else re.escape(part)) for part in parts
        )
        found = [path for path in self.files if re.fullmatch(expression, path)]
        return tuple(sorted(found, key=str.encode))
