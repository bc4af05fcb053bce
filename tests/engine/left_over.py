"""What is left of an engine: files, mounts, cgroups and processes, told by its directory."""

from __future__ import annotations

import os
from pathlib import Path


def left_of(directory: Path) -> list[str]:
    """Return all that still has to do with an engine's directory, and nothing of anybody else."""
    found = [str(directory)] if directory.exists() else []
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [line for line in mounts if str(directory) in line]
    found += [path for path, _, _ in os.walk("/sys/fs/cgroup") if directory.name in path]
    for process in Path("/proc").glob("[0-9]*"):
        found += [text for text in _described(process) if str(directory) in text]
    return found


def has_its_own_run(pid: int) -> bool:
    """Tell whether all that a process leaves below /run goes with its mount namespace."""
    return Path(f"/proc/{pid}/root/run").stat().st_dev != Path("/run").stat().st_dev


def _described(process: Path) -> list[str]:
    """Return a process's command line and directory; those of one that ends meanwhile are empty."""
    try:
        line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return [line, str((process / "cwd").readlink())]
    except OSError:
        return []
