"""The payload: installed, left alone, and executed while it is replaced."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

from benchmarks.disk import copied_durably, empty
from benchmarks.figures import Figure, Series
from benchmarks.subject import Place, ours
from testbed.packages import REPOSITORY, runc
from testbed.payload_host import settings_of
from toolkit.host.clock import UninterruptedClock
from toolkit.host.host_files import HostFiles
from toolkit.host.paths import HostRoot
from toolkit.payload.installer import PayloadInstaller
from toolkit.payload.low_level import LowLevelRuntimes

SECTION = "payload"
ROUNDS = 11
EXECUTIONS = 2000
REINSTALLATIONS = 10
_WRITES = "write,pwrite64,writev,pwritev,pwritev2,copy_file_range,sendfile,ftruncate,fallocate"
_CHANGES = "rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,symlink,symlinkat,link"
_WRITTEN = re.compile(
    r"\b(?:p?writev?2?|pwrite64|copy_file_range|sendfile)\(\d+<(/[^>]*)>.* = (\d+)$"
)
_PATHS = re.compile(r'"(/[^"]*)"')


def measure(directory: Path, payload: Path, other: Path) -> list[Figure]:
    """Measure the payload alone; ``other`` is a second payload, for re-installations."""
    figures = [_installed(directory, payload)]
    figures += _unchanged(directory, payload)
    figures.append(_executed(directory, payload, other))
    return figures


def _install(source: Path, install_dir: Path) -> None:
    settings = settings_of(
        f"--toolkit-source-root={source}",
        f"--toolkit-install-dir={install_dir}",
        "--toolkit-package-type=deb",
    )
    root = HostRoot(root="/")
    installer = PayloadInstaller(settings=settings, root=root, writer=HostFiles(root))
    plan = installer.plan(LowLevelRuntimes(paths=(str(runc()),), engine_runtime=str(runc())))
    record = installer.intent(plan)
    installer.stage(plan, UninterruptedClock())
    installer.swap(record)
    installer.commit(record)


def _installed(directory: Path, payload: Path) -> Figure:
    installed: list[float] = []
    copied: list[float] = []
    for number in range(ROUNDS + 1):
        target = directory / "alone"
        empty(target)
        began = time.perf_counter()
        _install(payload, target)
        taken = time.perf_counter() - began
        empty(directory / "copy")
        copy = copied_durably(payload, directory / "copy")
        if number:
            installed.append(taken * 1000)
            copied.append(copy * 1000)
    return Figure(
        section=SECTION,
        measured=Series(
            name="52 MB summed, copied, synced, checked, swapped in",
            unit="ms",
            values=tuple(installed),
        ),
        baseline=Series(name="cp -a + fsync", unit="ms", values=tuple(copied)),
        aim_ratio=1.5,
    )


def _unchanged(directory: Path, payload: Path) -> list[Figure]:
    """Trace a second setup: what it writes and which entries it makes, renames or removes."""
    place = Place(directory=directory / "traced", payload=payload, subject=ours())
    place.write_config()
    place.set_up()
    trace = directory / "trace"
    command = ("strace", "-f", "-y", "-s", "4096", "-o", str(trace))
    subprocess.run(
        (*command, "-e", f"trace={_WRITES},{_CHANGES},open,openat", *place.subject.command),
        env=place.environment(NO_DAEMON="true"),
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    kept = (str(place.install_dir), str(place.config.parent))
    written, touched = 0, set[str]()
    for line in trace.read_text(errors="replace").splitlines():
        if (found := _WRITTEN.search(line)) and found[1].startswith(kept):
            written += int(found[2])
        opened = re.search(r"\bopen(?:at)?\(", line)
        reads = opened and not re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TMPFILE", line)
        if not reads and not found:
            touched.update(path for path in _PATHS.findall(line) if path.startswith(kept))
    names = (
        ("written by a second setup", "bytes", written),
        ("touched by it", "files", len(touched)),
    )
    return [
        Figure(
            section=SECTION,
            measured=Series(name=name, unit=unit, values=(float(value),)),
            aim=0,
        )
        for name, unit, value in names
    ]


def _executed(directory: Path, payload: Path, other: Path) -> Figure:
    """Execute the runtime's path again and again while alternating payloads are installed."""
    target = directory / "loop"
    _install(payload, target)
    path = str(target / "toolkit/nvidia-container-runtime")
    failures: list[int] = []
    executed = 0
    done = threading.Event()

    def execute() -> None:
        nonlocal executed
        while executed < EXECUTIONS or not done.is_set():
            try:
                pid = os.posix_spawn(path, [path, "--version"], os.environ, file_actions=_QUIET)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            except OSError as error:
                code = error.errno or 1
            executed += 1
            if code:
                failures.append(code)

    thread = threading.Thread(target=execute)
    thread.start()
    try:
        for number in range(1, REINSTALLATIONS + 1):
            while executed < number * EXECUTIONS // (REINSTALLATIONS + 1):
                time.sleep(0.001)
            _install(other if number % 2 else payload, target)
    finally:
        done.set()
        thread.join()
    sys.stderr.write(f"{executed} executions, {len(failures)} failures\n")
    return Figure(
        section=SECTION,
        measured=Series(
            name=f"of {executed} executions during {REINSTALLATIONS} re-installs failed",
            unit="failures",
            values=(float(len(failures)),),
        ),
        aim=0,
    )


_QUIET = (
    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
)
