"""The engines' programs, unpacked from Debian's packages; ``make test`` has fetched them before."""

from __future__ import annotations

import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
ENGINES = (REPOSITORY / ".cache").resolve() / "engines"


def unpacked(name: str, suite: str) -> Path:
    """Return where a package's files lie, such as ``unpacked("containerd", "trixie")``."""
    directory = ENGINES / f"{name}-{suite}"
    if not (directory / ".packages").exists():
        subprocess.run((REPOSITORY / "tools/unpack-engines", f"{name}-{suite}"), check=True)
    return directory


def runc() -> Path:
    """Return the low-level runtime that all engines share."""
    return _shared("runc", "sbin/runc")


def busybox() -> Path:
    """Return a busybox that is linked statically: all that an image needs."""
    return _shared("busybox", "bin/busybox")


def _shared(name: str, program: str) -> Path:
    """Return a program of Debian 12, or the machine's own where only that is unpacked."""
    machine = ENGINES / f"{name}-machine"
    bookworm = machine.with_name(f"{name}-bookworm")
    directory = (
        machine if machine.exists() and not bookworm.exists() else unpacked(name, "bookworm")
    )
    # Debian moved /bin and /sbin below /usr between the two.
    return next(
        path for path in (directory / "usr" / program, directory / program) if path.exists()
    )
