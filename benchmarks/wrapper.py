"""What a wrapper adds to every call of the runtime."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from benchmarks.figures import Figure, Series
from benchmarks.subject import Place, ours
from testbed.packages import runc

SECTION = "wrapper"
BATCHES = 9
CALLS = 40
"""Calls in a batch; a value is a batch's mean."""
FORKING = """\
#!/bin/sh
if ! cat /proc/modules 2>/dev/null | grep -q '^nvidia '; then
    exec {runtime} "$@"
fi
exec {real} "$@"
"""
"""How a wrapper looks that asks other programs whether the driver is loaded."""
BARE = '#!/bin/sh\nexec {runtime} "$@"\n'
"""The least that a wrapper can be: the shell's own start."""


def measure(directory: Path, payload: Path) -> list[Figure]:
    """Time calls of the wrapper, of runc alone and of the forking wrapper, in turn."""
    place = Place(directory=directory / "wrapper", payload=payload, subject=ours())
    place.write_config()
    place.set_up()
    wrapper = place.install_dir / "toolkit/nvidia-container-runtime"
    paths = {"ours": str(wrapper), "direct": str(runc())}
    for name, text in (("forking", FORKING), ("bare", BARE)):
        script = directory / name
        script.write_text(text.format(runtime=runc(), real=f"{wrapper}.real"))
        script.chmod(0o755)
        paths[name] = str(script)
    times: dict[str, list[float]] = {name: [] for name in paths}
    for number in range(BATCHES + 1):
        for name, path in paths.items():
            taken = _calls(path)
            if number:
                times[name].append(taken * 1000)
    direct = statistics.median(times["direct"])
    direct_series = Series(name="runc --version", unit="ms", values=tuple(times["direct"]))
    added = {
        name: tuple(value - direct for value in times[name]) for name in ("ours", "forking", "bare")
    }
    return [
        Figure(
            section=SECTION,
            measured=Series(name="--version through it", unit="ms", values=tuple(times["ours"])),
            baseline=direct_series,
        ),
        Figure(
            section=SECTION,
            measured=Series(name="added to a call", unit="ms", values=added["ours"]),
            baseline=Series(
                name="by `cat /proc/modules | grep`", unit="ms", values=added["forking"]
            ),
            aim_ratio=0.25,
        ),
        Figure(
            section=SECTION,
            measured=Series(name="added to a call", unit="ms", values=added["ours"]),
            baseline=Series(name="by a shell that only execs", unit="ms", values=added["bare"]),
        ),
    ]


def _calls(path: str) -> float:
    quiet = ((os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),)
    began = time.perf_counter()
    for _ in range(CALLS):
        pid = os.posix_spawn(path, [path, "--version"], os.environ, file_actions=quiet)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code:
            raise RuntimeError(f"{path}: exit code {code}")
    return (time.perf_counter() - began) / CALLS
