"""Which names say that their value is a secret: one list for logs, diffs and comparisons."""

from __future__ import annotations

import re
from typing import Final

REDACTED: Final = "[redacted]"
"""What stands in the place of a secret."""
WORDS: Final = (
    "password", "passwd", "auth", "token", "secret", "credential", "header", "username",
)  # fmt: skip
"""Parts of such names; a header may be ``Authorization``."""
WORD: Final = re.compile("|".join(WORDS), re.IGNORECASE)


def names_secret(name: str) -> bool:
    """Tell whether a key's or field's name says that its value is a secret."""
    return WORD.search(name) is not None
