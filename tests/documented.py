"""Blocks of the documentation, compared with what the program prints."""

from __future__ import annotations

import re

LEFT_OUT = "[…]\n"
"""Stands for any number of lines."""


def shows(block: str, printed: str) -> bool:
    """Return whether a block is what was printed, from the first line to the last."""
    return (
        re.fullmatch("(?:.*\n)*?".join(map(re.escape, block.split(LEFT_OUT))), printed) is not None
    )
