"""Baselines that no installer can do without: ``cp -a`` and fsync of the same files."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path


def copied_durably(source: Path, target: Path) -> float:
    """Copy a tree with ``cp -a`` and fsync all of it; return the seconds."""
    shutil.rmtree(target, ignore_errors=True)
    began = time.perf_counter()
    subprocess.run(("/bin/cp", "-a", source, target), check=True)
    for parent, _, names in os.walk(target, topdown=False):
        for name in names:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                _sync(path)
        _sync(parent)
    return time.perf_counter() - began


def empty(directory: Path) -> None:
    """Remove a tree and wait until the disk has nothing left to do, so that runs stay apart."""
    shutil.rmtree(directory, ignore_errors=True)
    os.sync()


def size_of(directory: Path) -> int:
    """Return the bytes of all files below a directory."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
