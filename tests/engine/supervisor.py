"""Starts an engine again whenever it dies; a program of its own, not a module.

``python -I -S supervisor.py DIRECTORY RESTART_DELAY -- COMMAND...``, standard library only. Apart
from the tests' process, as a real supervisor is: the engine's live parent is neither PID 1 nor
pytest.

In DIRECTORY: ``events`` (one JSON object a line), ``log`` (the engine's output), ``held`` (while
this file exists the engine is not started again). SIGTERM, or the death of the tests' process, ends
the engine and everything that it ever started, shims and containers included.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL = 0.02
"""Seconds between looks at the ``held`` file."""
GRACE = 2.0
"""Seconds that the engine gets between SIGTERM and SIGKILL."""
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


class Supervisor:
    """One engine and its descendants."""

    def __init__(self, directory: Path, restart_delay: float, command: list[str]) -> None:
        self.directory = directory
        self.restart_delay = restart_delay
        self.command = command
        self.engine: int | None = None
        self.died_at: float | None = None
        self.cgroups: set[Path] = set()
        self.cgroups_before = shallow_cgroups() | cgroups_of(os.getpid())

    def run(self) -> None:
        """Keep the engine alive until a termination signal comes."""
        self.spawn()
        while True:
            taken = signal.sigtimedwait(HANDLED, POLL)
            if taken is not None and taken.si_signo != signal.SIGCHLD:
                self.end()
                return
            self.reap()
            if self.engine is None and not (self.directory / "held").exists():
                self.spawn()

    def spawn(self) -> None:
        """Start the engine with an empty signal mask, its output appended to the log."""
        log = os.open(self.directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.engine = os.posix_spawn(
            self.command[0],
            self.command,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)],
            setsigmask=(),
        )
        os.close(log)
        self.note("spawned", self.engine)

    def reap(self) -> None:
        """Collect the dead; the engine itself stays a zombie for the restart delay."""
        while True:
            try:
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if dead is None:
                return
            if dead.si_pid == self.engine:
                if self.died_at is None:
                    self.died_at = time.monotonic()
                    self.note("died", dead.si_pid, dead.si_status)
                if time.monotonic() < self.died_at + self.restart_delay:
                    return
                self.engine = self.died_at = None
            os.waitpid(dead.si_pid, 0)

    def end(self) -> None:
        """End the engine, then every descendant, and remove the cgroups that they leave."""
        if self.engine is not None:
            os.kill(self.engine, signal.SIGTERM)
            self.restart_delay = 0.0
            self.await_engine(time.monotonic() + GRACE)
        while descendants := descendants_of(os.getpid()):
            for pid in descendants:
                self.cgroups |= cgroups_of(pid)
                kill(pid)
            signal.sigtimedwait((signal.SIGCHLD,), POLL)
            self.engine = None
            self.reap()
        for cgroup in (self.cgroups | shallow_cgroups()) - self.cgroups_before:
            remove_cgroup(cgroup)

    def await_engine(self, deadline: float) -> None:
        """Reap until the engine is gone."""
        while self.engine is not None and time.monotonic() < deadline:
            signal.sigtimedwait((signal.SIGCHLD,), POLL)
            self.reap()

    def note(self, event: str, pid: int, status: int | None = None) -> None:
        """Append to the record of what happened when (monotonic seconds)."""
        record = {"event": event, "pid": pid, "status": status, "at": time.monotonic()}
        with (self.directory / "events").open("a") as events:
            events.write(json.dumps(record) + "\n")


def descendants_of(ancestor: int) -> list[int]:
    """Return the PIDs of all processes below ``ancestor``."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    pending = [ancestor]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


def kill(pid: int) -> None:
    """Kill a process that may be gone already."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def cgroups_of(pid: int) -> set[Path]:
    """Return the process's cgroup directories in every mounted hierarchy, roots left out."""
    found: set[Path] = set()
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        _, controllers, path = line.split(":", 2)
        name = controllers.removeprefix("name=")
        for mount in ("", name, "unified"):
            directory = Path("/sys/fs/cgroup") / mount / path.lstrip("/")
            if path != "/" and (directory / "cgroup.procs").exists():
                found.add(directory)
    return found


def shallow_cgroups() -> set[Path]:
    """Return the cgroups next to a hierarchy's root and to our own, where engines make theirs."""
    above = {Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/"), *cgroups_of(os.getpid())}
    return {
        path for cgroup in above for path in cgroup.glob("*/") if (path / "cgroup.procs").exists()
    }


def remove_cgroup(directory: Path) -> None:
    """Remove a cgroup, the ones below it and the ones above it as far as they are empty."""
    for root, _, _ in os.walk(directory, topdown=False):
        with suppress(OSError):
            Path(root).rmdir()
    with suppress(OSError):
        for parent in directory.parents:
            parent.rmdir()


def main() -> None:
    """Become the parent of all that the engine leaves behind, and run."""
    directory, restart_delay, _, *command = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    Supervisor(Path(directory), float(restart_delay), command).run()


if __name__ == "__main__":
    main()
