"""What stays in memory while nothing happens."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.figures import Figure, Series
from benchmarks.subject import Place, Subject

SECTION = "idle"
ROUNDS = 3
_FIELDS = {
    "resident": ("Rss",),
    "proportional": ("Pss",),
    "private, written to": ("Private_Dirty",),
}
_BARE = ("-I", "-S", "-c", "import signal; signal.pause()")


def memory_of(pid: int) -> dict[str, float]:
    """Return resident, proportional and private written memory in MB, from smaps_rollup."""
    sizes: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        sizes[name] = int(rest.split()[0])
    return {name: sum(sizes[field] for field in fields) / 1024 for name, fields in _FIELDS.items()}


def measure(directory: Path, payload: Path, subjects: tuple[Subject, ...]) -> list[Figure]:
    """Look at each subject after a setup, and at an interpreter that waits."""
    found: dict[str, dict[str, list[float]]] = {}
    for _ in range(ROUNDS):
        for subject in subjects:
            place = Place(directory=directory / subject.name, payload=payload, subject=subject)
            place.write_config()
            process = place.daemon()
            _note(found, subject.name, memory_of(process.pid))
            place.stop(process)
        with subprocess.Popen((sys.executable, *_BARE)) as bare:
            time.sleep(0.3)
            _note(found, "bare", memory_of(bare.pid))
            bare.kill()
    return figures(SECTION, found)


def figures(section: str, found: dict[str, dict[str, list[float]]]) -> list[Figure]:
    """Return one row for each kind of memory."""
    rows = []
    for name in _FIELDS:
        peer = found.get("peer")
        rows.append(
            Figure(
                section=section,
                measured=Series(name=name, unit="MB", values=tuple(found["ours"][name])),
                baseline=Series(name="python -I -S", unit="MB", values=tuple(found["bare"][name])),
                peer=None
                if peer is None
                else Series(name=name, unit="MB", values=tuple(peer[name])),
            )
        )
    return rows


def _note(found: dict[str, dict[str, list[float]]], subject: str, sizes: dict[str, float]) -> None:
    for name, size in sizes.items():
        found.setdefault(subject, {}).setdefault(name, []).append(size)
