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
import errno
import json
import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWCGROUP = 0x2000000
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL = 0.02
"""Seconds between looks at the ``held`` file."""
GRACE = 2.0
"""Seconds that the kernel may take to empty a cgroup whose processes are dead."""
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


class Supervisor:
    """One engine and its descendants."""

    def __init__(self, directory: Path, restart_delay: float, command: list[str]) -> None:
        self.directory = directory
        self.restart_delay = restart_delay
        self.command = command
        self.engine: int | None = None
        self.died_at: float | None = None
        self.cgroups = Cgroups(f"toolkit-{directory.parent.name}")

    def run(self) -> None:
        """Keep the engine alive until a termination signal comes."""
        self.cgroups.become_the_root()
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
        """Kill the engine and every descendant at once, and remove the cgroups that they leave."""
        while descendants := descendants_of(os.getpid()):
            for pid in descendants:
                kill(pid)
            signal.sigtimedwait((signal.SIGCHLD,), POLL)
            self.engine = None
            self.reap()
        self.cgroups.remove()

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


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted hierarchy of cgroups; the descriptors are of its mount before ours."""

    point: str
    kind: str
    """``cgroup`` or ``cgroup2``."""
    options: str
    """What names a hierarchy of version 1: its controllers or its name."""
    top: int
    """Where the mount begins."""
    home: int
    """``cgroup.procs`` of where the supervisor was started."""


class Cgroups:
    """A cgroup of our own in every hierarchy, the root of all that the engine sees.

    Engines make theirs (``k8s.io``, ``docker``, systemd's slices) at what they see as the root:
    side by side they would use the same ones and remove each other's.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.hierarchies = [each for each in hierarchies() if self.make(each)]

    def make(self, hierarchy: Hierarchy) -> bool:
        """Make our cgroup in a hierarchy, unless that is read-only."""
        try:
            os.mkdir(self.name, dir_fd=hierarchy.top)
        except OSError:
            return False
        # A cgroup of cpuset takes no process before it has these two.
        for file in ("cpuset.cpus", "cpuset.mems"):
            with suppress(FileNotFoundError):
                self.write(hierarchy, file, read(file, hierarchy.top))
        self.write(hierarchy, "cgroup.procs", str(os.getpid()))
        return True

    def become_the_root(self) -> None:
        """Let everything that is started from now on see our cgroups as the hierarchies' roots."""
        if LIBC.unshare(CLONE_NEWCGROUP):
            return
        for each in self.hierarchies:
            if each.kind == "cgroup2":
                self.delegate(each)
            LIBC.umount2(each.point.encode(), MNT_DETACH)
            arguments = (b"cgroup", each.point.encode(), each.kind.encode())
            LIBC.mount(*arguments, 0, each.options.encode() or None)

    def delegate(self, hierarchy: Hierarchy) -> None:
        """Pass the controllers on: a cgroup of version 2 that does has no process itself."""
        os.mkdir(f"{self.name}/init", dir_fd=hierarchy.top)
        self.write(hierarchy, "init/cgroup.procs", str(os.getpid()))
        for controller in read(f"{self.name}/cgroup.controllers", hierarchy.top).split():
            with suppress(OSError):
                self.write(hierarchy, "cgroup.subtree_control", f"+{controller}")

    def remove(self) -> None:
        """Go back to where we were started, and remove what is ours."""
        deadline = time.monotonic() + GRACE
        for each in self.hierarchies:
            with suppress(OSError):
                os.write(each.home, str(os.getpid()).encode())
            remove_cgroup(self.name, each.top, deadline)

    def write(self, hierarchy: Hierarchy, file: str, text: str) -> None:
        """Write to a file of ours."""
        descriptor = os.open(f"{self.name}/{file}", os.O_WRONLY, dir_fd=hierarchy.top)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def hierarchies() -> Iterator[Hierarchy]:
    """Return the mounted hierarchies that this process has a cgroup in."""
    known = {line.split()[0] for line in Path("/proc/cgroups").read_text().splitlines()}
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own[frozenset(controllers.split(","))] = path
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, file_system = line.partition(" - ")
        root, point = mount.split()[3:5]
        kind, _, words = file_system.split()
        options = [each for each in words.split(",") if each in known or each.startswith("name=")]
        where = own.get(frozenset(options or [""]), "") if kind in ("cgroup", "cgroup2") else ""
        if where and f"{where}/".startswith(f"{root.rstrip('/')}/"):
            below = where[len(root.rstrip("/")) :].lstrip("/")
            with suppress(OSError):
                yield Hierarchy(
                    point,
                    kind,
                    ",".join(options) if kind == "cgroup" else "",
                    os.open(point, os.O_RDONLY | os.O_DIRECTORY),
                    os.open(os.path.join(point, below, "cgroup.procs"), os.O_WRONLY),
                )


def read(file: str, directory: int) -> str:
    """Read a file below a directory."""
    descriptor = os.open(file, os.O_RDONLY, dir_fd=directory)
    try:
        return os.read(descriptor, 4096).decode()
    finally:
        os.close(descriptor)


def remove_cgroup(name: str, parent: int, deadline: float) -> None:
    """Remove a cgroup with those below it, as soon as the kernel has let the last process go."""
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=parent)
    try:
        for entry in os.listdir(descriptor):
            if stat.S_ISDIR(os.stat(entry, dir_fd=descriptor).st_mode):
                remove_cgroup(entry, descriptor, deadline)
    finally:
        os.close(descriptor)
    while True:
        try:
            os.rmdir(name, dir_fd=parent)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                return
            time.sleep(POLL)
        else:
            return


def main() -> None:
    """Become the parent of all that the engine leaves behind, and run."""
    directory, restart_delay, _, *command = sys.argv[1:]
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    Supervisor(Path(directory), float(restart_delay), command).run()


if __name__ == "__main__":
    main()
