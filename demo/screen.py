"""What the demo prints: numbered steps with their times, colour only on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

HEADING = "1;36"
GOOD = "32"
FAINT = "2"


class Screen:
    """Prints to stdout."""

    def __init__(self) -> None:
        self._colour = sys.stdout.isatty()
        self._number = 0
        self._began = time.monotonic()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Print a heading, and at the end of the step how long it took."""
        self._number += 1
        print()
        print(self._painted(f"{self._number}. {title}", HEADING), flush=True)
        began = time.monotonic()
        yield
        print(self._painted(f"   ({time.monotonic() - began:.2f} s)", FAINT), flush=True)

    def say(self, text: str) -> None:
        """Print one or more lines of the demo's own words."""
        for line in text.splitlines():
            print(f"   {line}", flush=True)

    def quote(self, text: str) -> None:
        """Print what a program or a file says."""
        for line in text.splitlines():
            print(self._painted("   | ", FAINT) + line, flush=True)

    def good(self, text: str) -> None:
        """Print what came out as it should."""
        print("   " + self._painted(text, GOOD), flush=True)

    def total(self) -> float:
        """Return the seconds since the demo began."""
        return time.monotonic() - self._began

    def _painted(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text
