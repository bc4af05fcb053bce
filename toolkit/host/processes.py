"""What /proc reports about processes, and the one place that signals them.

A PID alone may belong to another process a moment later. Here a process is identified by its PID
and start time, and signalled through a pidfd that was checked after it was opened.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeVar

from msgspec import Struct

from toolkit.errors import EngineNotFoundError

_DELETED = " (deleted)"
_FIRST = 1
_MAX_ANCESTORS = 64
Answer = TypeVar("Answer")


class ProcessFacts(Struct, frozen=True, kw_only=True):
    """One process at one moment."""

    pid: int
    start_time: int
    """Field 22 of /proc/PID/stat, in clock ticks since boot."""
    parent_pid: int
    name: str
    """The kernel's name (comm); one of 15 or more characters is completed from the arguments."""
    executable: str | None
    """As the process's own mount namespace names it; None if it may not be read."""
    arguments: tuple[str, ...]
    cgroup: str
    """The text of /proc/PID/cgroup."""
    on_host: bool | None
    """Whether its root is the host's, not a container's; None if not known."""
    search_path: tuple[str, ...] = ()
    """The directories of its ``PATH``, where it looks up helpers."""
    user: int | None = None
    """Its effective user ID in this process's user namespace; None if not known."""

    @property
    def unit(self) -> str | None:
        """The system's systemd service that the process belongs to, if any."""
        return unit_of(self.cgroup)


class Signaller(Protocol):
    """The only way to signal a process."""

    def hold(self, pid: int, start_time: int) -> Handle:
        """Open a handle. Raises EngineNotFoundError if the PID now belongs to another process."""


def with_ancestors(pid: int, table: ProcessTable) -> frozenset[int]:
    """Return a process and its ancestors, without PID 1."""
    line: set[int] = set()
    while pid > _FIRST and len(line) < _MAX_ANCESTORS:
        line.add(pid)
        process = table.find(pid)
        if process is None:
            break
        pid = process.parent_pid
    return frozenset(line)


def unit_of(cgroup: str) -> str | None:
    """Return the systemd service named in a /proc/PID/cgroup, or None.

    The innermost one counts, so a node in a container (kind, nspawn) yields the node's unit. A
    service of a user manager (rootless dockerd) is skipped: the system manager does not know it.
    """
    for path in _systemd_paths(cgroup):
        parts = path.split("/")
        if any(part.startswith("user@") for part in parts):
            continue
        for part in reversed(parts):
            if part.endswith(".service") and part != ".service":
                return part.removeprefix("_")  # systemd's guard against names of cgroup's own files
            if part.endswith(".scope"):
                break
    return None


def _systemd_paths(cgroup: str) -> list[str]:
    """Return the paths in systemd's own hierarchies: version 1's named one, then version 2's."""
    found: dict[str, str] = {}
    for line in cgroup.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        found[controllers] = path
    return [found[key] for key in ("name=systemd", "") if key in found]


def has_root(proc: str, pid: int, directory: str) -> bool | None:
    """Return whether a directory is a process's root; None if that may not be read.

    A service with its own mounts (systemd's PrivateTmp, ProtectSystem) still has the host's root.
    Reading the root needs the right to trace the process, as reading its executable does (proc(5)).
    """
    try:
        return os.path.samestat(os.stat(f"{proc}/{pid}/root/."), os.stat(directory))
    except OSError:
        return None


class ProcessTable:
    """The processes of a procfs; ``root`` is where this process sees the host's root."""

    def __init__(self, proc: str = "/proc", root: str = "/") -> None:
        self._proc = proc
        self._root = root

    def find(self, pid: int) -> ProcessFacts | None:
        """Return the process, or None if there is none (a zombie counts as gone)."""
        # psutil takes 14 ms to load: not for a look at names that finds none.
        import psutil

        if pid <= 0:
            return None
        psutil.PROCFS_PATH = self._proc
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                    return None
                return ProcessFacts(
                    pid=pid,
                    start_time=self._start_time(pid),
                    # Read before the executable, which an exiting process loses first.
                    on_host=self._on_host(pid),
                    parent_pid=process.ppid(),
                    name=process.name(),
                    executable=self._executable(pid),
                    arguments=tuple(_allowed(process.cmdline, [])),
                    cgroup=self._text(pid, "cgroup") or "",
                    search_path=_search_path(_allowed(process.environ, {})),
                    user=process.uids().effective,
                )
        except (psutil.NoSuchProcess, ProcessLookupError):  # reading a zombie raises this too
            return None

    def all(self) -> Iterator[ProcessFacts]:
        """Return every visible process."""
        return self.named(("",))

    def named(self, prefixes: tuple[str, ...]) -> Iterator[ProcessFacts]:
        """Return every process whose name (comm) begins with one of these.

        Reads one small file per process.
        """
        for entry in os.listdir(self._proc):
            if entry.isdecimal() and (self._text(int(entry), "comm") or "").startswith(prefixes):
                process = self.find(int(entry))
                if process is not None:
                    yield process

    def _on_host(self, pid: int) -> bool | None:
        """Compare with the host's root as seen here, then with the root of PID 1.

        The latter helps in a container that was given only some directories of the host.
        """
        found = has_root(self._proc, pid, self._root)
        if found is False and has_root(self._proc, pid, f"{self._proc}/1/root/."):
            return True
        return found

    def _text(self, pid: int, name: str) -> str | None:
        try:
            with open(f"{self._proc}/{pid}/{name}", "rb") as file:
                return file.read().decode(errors="surrogateescape")
        except OSError:  # it exited, or the kernel returns ESRCH in the middle of reading
            return None

    def _start_time(self, pid: int) -> int:
        """Return the start in ticks: psutil's is a time of day, which moves with a set clock."""
        stat = self._text(pid, "stat")
        if stat is None:
            raise ProcessLookupError
        # The name is in parentheses and may contain spaces and parentheses.
        return int(stat[stat.rindex(")") + 2 :].split()[19])

    def _executable(self, pid: int) -> str | None:
        """Return what the kernel reports: psutil would guess from what the process calls itself."""
        try:
            return os.readlink(f"{self._proc}/{pid}/exe").removesuffix(_DELETED)
        except OSError:
            return None


def _allowed(ask: Callable[[], Answer], otherwise: Answer) -> Answer:
    """Return what psutil reports, or ``otherwise`` if another user's process denies it."""
    import psutil

    try:
        return ask()
    except psutil.AccessDenied:
        return otherwise


def _search_path(variables: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(each for each in variables.get("PATH", "").split(":") if each.startswith("/"))


class Handle:
    """One process behind a pidfd, held so that its PID cannot be reused."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; does nothing if the process has exited."""
        try:
            signal.pidfd_send_signal(self._descriptor, number)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise EngineNotFoundError(
                f"the engine may not be signalled ({number.name}): {error.strerror}",
                "run as root and privileged, or choose another --restart-mode",
            ) from error

    def wait_gone(self, seconds: float) -> bool:
        """Wait up to ``seconds`` for the process to exit; a zombie counts as exited."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1000))

    def close(self) -> None:
        """Close the handle."""
        os.close(self._descriptor)


class PidfdSignaller:
    """Signals through pidfds (Linux 5.3 and later)."""

    def __init__(self, table: ProcessTable) -> None:
        self._table = table

    def hold(self, pid: int, start_time: int) -> Handle:
        """Open a handle. Raises EngineNotFoundError if the PID now belongs to another process."""
        # PID 0 is our own process group and PID 1 the host's init.
        if pid <= 1:
            raise EngineNotFoundError(f"PID {pid} is not an engine and is never signalled")
        try:
            handle = Handle(os.pidfd_open(pid))
        except OSError as error:
            raise EngineNotFoundError(f"process {pid} is gone: {error.strerror}") from error
        process = self._table.find(pid)
        # Looked up after the pidfd was opened: from then on the PID cannot be reused.
        if process is None or process.start_time != start_time:
            handle.close()
            raise EngineNotFoundError(f"process {pid} is no longer the engine")
        return handle
