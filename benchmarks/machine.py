"""The machine that the figures are of."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path


def described(directory: Path) -> dict[str, object]:
    """Return what a reader needs to judge the figures; files were written to ``directory``."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processor": _first("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory_gib": round(int(_first("/proc/meminfo", "MemTotal").split()[0]) / 2**20, 1),
        "kernel": platform.release(),
        "distribution": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
        "python": platform.python_version(),
        "file_system": _file_system(directory),
        "load_at_start": os.getloadavg()[0],
    }


def _first(path: str, key: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(key):
            return line.partition(":")[2].strip()
    return "unknown"


def _file_system(directory: Path) -> str:
    command = ("/usr/bin/stat", "--file-system", "--format=%T", str(directory))
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
