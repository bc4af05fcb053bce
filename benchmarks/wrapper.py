"""What a wrapper adds to every call of the runtime."""

from __future__ import annotations

import json
import os
import statistics
import time
from pathlib import Path

from benchmarks.figures import Figure, Series
from benchmarks.subject import Place, ours
from testbed.packages import runc
from toolkit.payload.wrappers import wrapper

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
    installed = place.install_dir / "toolkit/nvidia-container-runtime"
    paths = {"ours": str(installed), "direct": str(runc())}
    for name, text in (("forking", FORKING), ("bare", BARE)):
        script = directory / name
        script.write_text(text.format(runtime=runc(), real=f"{installed}.real"))
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
        _asking(directory),
    ]


def _asking(directory: Path) -> Figure:
    """Time a container's creation without a driver, with --require-driver and without."""
    env = [f"VARIABLE_{number}=some value" for number in range(30)]
    mounts = [{"destination": f"/mnt/{number}", "type": "bind"} for number in range(40)]
    text = json.dumps({"process": {"env": env}, "mounts": mounts})
    (directory / "config.json").write_text(text)
    times: dict[bool, list[float]] = {True: [], False: []}
    for number in range(BATCHES + 1):
        for asks, values in times.items():
            path = directory / f"asks-{asks}"
            content = wrapper(
                "nvidia-container-runtime", str(directory), "/bin/true", require_driver=asks
            )
            path.write_bytes(content)
            path.chmod(0o755)
            taken = _calls(str(path), "create", "--bundle", str(directory), "name")
            if number:
                values.append(taken * 1000)
    return Figure(
        section=SECTION,
        measured=Series(
            name=f"create without a driver, --require-driver, {len(text) / 1000:.1f} KB of config",
            unit="ms",
            values=tuple(times[True]),
        ),
        baseline=Series(name="without the flag", unit="ms", values=tuple(times[False])),
    )


def _calls(path: str, *arguments: str) -> float:
    quiet = ((os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),)
    began = time.perf_counter()
    for _ in range(CALLS):
        words = [path, *(arguments or ("--version",))]
        pid = os.posix_spawn(path, words, os.environ, file_actions=quiet)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code:
            raise RuntimeError(f"{path}: exit code {code}")
    return (time.perf_counter() - began) / CALLS
