"""The engines' programs, unpacked from Debian's packages; ``make test`` has fetched them before."""

from __future__ import annotations

import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def unpacked(name: str, suite: str) -> Path:
    """Return where a package's files lie, such as ``unpacked("containerd", "trixie")``."""
    directory = REPOSITORY / ".cache" / "engines" / f"{name}-{suite}"
    if not (directory / ".packages").exists():
        subprocess.run((REPOSITORY / "tools/unpack-engines", f"{name}-{suite}"), check=True)
    return directory


def runc() -> Path:
    """Return the low-level runtime that all engines share."""
    return unpacked("runc", "bookworm") / "usr/sbin/runc"


def busybox() -> Path:
    """Return a busybox that is linked statically: all that an image needs."""
    return unpacked("busybox", "bookworm") / "bin/busybox"
