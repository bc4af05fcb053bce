"""Processes: what /proc says of them, and the one place that signals one.

A PID is only a number that may belong to somebody else a moment later. A process is named here by
its PID and its start time, and a signal goes through a pidfd whose process was checked once more.
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
_LONGEST_LINE = 64
Answer = TypeVar("Answer")


class ProcessFacts(Struct, frozen=True, kw_only=True):
    """One process at one moment."""

    pid: int
    start_time: int
    """Field 22 of /proc/PID/stat, in clock ticks since boot."""
    parent_pid: int
    name: str
    """The kernel's name of it (comm); one of 15 characters and more as its arguments have it."""
    executable: str | None
    """As the process's own mount namespace names it; None where it may not be read."""
    arguments: tuple[str, ...]
    cgroup: str
    """The text of /proc/PID/cgroup."""
    on_host: bool | None
    """Whether its root is the host's, and not a container's; None where that is not known."""
    search_path: tuple[str, ...] = ()
    """The directories of its ``PATH``, in which it looks its helpers up."""
    user: int | None = None
    """Its effective user's number, as this process's user namespace counts; None: not known."""

    @property
    def unit(self) -> str | None:
        """The system's systemd service that the process belongs to, if any."""
        return unit_of(self.cgroup)


class ProcessTable(Protocol):
    """How processes are looked at."""

    def find(self, pid: int) -> ProcessFacts | None:
        """Return the process, or None where there is none (a zombie counts as gone)."""

    def all(self) -> Iterator[ProcessFacts]:
        """Every process that can be seen."""

    def named(self, prefixes: tuple[str, ...]) -> Iterator[ProcessFacts]:
        """Every process whose name (comm) begins with one of these."""


class Handle(Protocol):
    """One process, held so that its PID can't come to mean another one."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; a process that is gone meanwhile gets none and that is not an error."""

    def wait_gone(self, seconds: float) -> bool:
        """Wait until it has ended, at most so long; return whether it has."""

    def close(self) -> None:
        """Let go of it."""


class Signaller(Protocol):
    """The only way to signal a process."""

    def hold(self, pid: int, start_time: int) -> Handle:
        """Take hold of a process. Raises EngineNotFoundError where it is another one by now."""


def line_of(pid: int, table: ProcessTable) -> frozenset[int]:
    """Return a process and its ancestors, but for the first process of all."""
    line: set[int] = set()
    while pid > _FIRST and len(line) < _LONGEST_LINE:
        line.add(pid)
        process = table.find(pid)
        if process is None:
            break
        pid = process.parent_pid
    return frozenset(line)


def unit_of(cgroup: str) -> str | None:
    """Return the systemd service named in a /proc/PID/cgroup, or None.

    The innermost one counts, so that a node in a container (kind, nspawn) gives the node's unit.
    A service of a user's own manager (rootless dockerd) is none that the system's manager knows.
    """
    for path in _systemd_paths(cgroup):
        parts = path.split("/")
        if any(part.startswith("user@") for part in parts):
            continue
        for part in reversed(parts):
            if part.endswith(".service") and part != ".service":
                return part.removeprefix("_")  # systemd's guard against cgroup's own file names
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
    """Tell whether a directory is a process's root; None where that may not be looked at.

    A service with mounts of its own (systemd's PrivateTmp, ProtectSystem) has the host's root all
    the same. Looking needs the right to trace the process, as its executable does (proc(5)).
    """
    try:
        return os.path.samestat(os.stat(f"{proc}/{pid}/root/."), os.stat(directory))
    except OSError:
        return None


class ProcFs:
    """The processes of a procfs; ``root`` is where this process sees the host's root."""

    def __init__(self, proc: str = "/proc", root: str = "/") -> None:
        self._proc = proc
        self._root = root

    def find(self, pid: int) -> ProcessFacts | None:
        """Return the process, or None where there is none (a zombie counts as gone)."""
        # Takes 14 ms to load: not for a look at names that finds none.
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
                    # Before the executable, which a process that ends loses first.
                    on_host=self._on_host(pid),
                    parent_pid=process.ppid(),
                    name=process.name(),
                    executable=self._executable(pid),
                    arguments=tuple(_allowed(process.cmdline, [])),
                    cgroup=self._text(pid, "cgroup") or "",
                    search_path=_search_path(_allowed(process.environ, {})),
                    user=process.uids().effective,
                )
        except (psutil.NoSuchProcess, ProcessLookupError):  # a zombie that is read says so, too
            return None

    def all(self) -> Iterator[ProcessFacts]:
        """Every process that can be seen."""
        for entry in os.listdir(self._proc):
            if entry.isdecimal() and (process := self.find(int(entry))) is not None:
                yield process

    def named(self, prefixes: tuple[str, ...]) -> Iterator[ProcessFacts]:
        """Every process whose name (comm) begins with one of these: one small file each is read."""
        for entry in os.listdir(self._proc):
            if entry.isdecimal() and (self._text(int(entry), "comm") or "").startswith(prefixes):
                process = self.find(int(entry))
                if process is not None:
                    yield process

    def _on_host(self, pid: int) -> bool | None:
        """Compare with the host's root as it is seen here, and with that of the first process.

        The latter tells where a container was given single directories of the host alone.
        """
        found = has_root(self._proc, pid, self._root)
        if found is False and has_root(self._proc, pid, f"{self._proc}/1/root/."):
            return True
        return found

    def _text(self, pid: int, name: str) -> str | None:
        try:
            with open(f"{self._proc}/{pid}/{name}", "rb") as file:
                return file.read().decode(errors="surrogateescape")
        except OSError:  # it ended, or the kernel says ESRCH in the middle of reading
            return None

    def _start_time(self, pid: int) -> int:
        """Return the start in ticks: psutil's is a time of day, which a set clock would move."""
        stat = self._text(pid, "stat")
        if stat is None:
            raise ProcessLookupError
        # The name is in parentheses and may hold spaces and parentheses itself.
        return int(stat[stat.rindex(")") + 2 :].split()[19])

    def _executable(self, pid: int) -> str | None:
        """Return the kernel's word alone: psutil would guess from what the process calls itself."""
        try:
            return os.readlink(f"{self._proc}/{pid}/exe").removesuffix(_DELETED)
        except OSError:
            return None


def _allowed(ask: Callable[[], Answer], otherwise: Answer) -> Answer:
    """Return what psutil tells; another user's process may not tell it."""
    import psutil

    try:
        return ask()
    except psutil.AccessDenied:
        return otherwise


def _search_path(variables: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(each for each in variables.get("PATH", "").split(":") if each.startswith("/"))


class PidfdHandle:
    """A process behind a pidfd."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; a process that is gone meanwhile gets none and that is not an error."""
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
        """Wait until it has ended, at most so long; return whether it has (as a zombie, too)."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1000))

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


class PidfdSignaller:
    """Signals through pidfds (Linux 5.3 and later)."""

    def __init__(self, table: ProcessTable) -> None:
        self._table = table

    def hold(self, pid: int, start_time: int) -> Handle:
        """Take hold of a process. Raises EngineNotFoundError where it is another one by now."""
        # PID 0 is the caller's own process group and PID 1 the host's init, whoever asks.
        if pid <= 1:
            raise EngineNotFoundError(f"PID {pid} is not an engine and is never signalled")
        try:
            handle = PidfdHandle(os.pidfd_open(pid))
        except OSError as error:
            raise EngineNotFoundError(f"process {pid} is gone: {error.strerror}") from error
        process = self._table.find(pid)
        # Asked after the pidfd was taken: from here on the PID can't be given to another one.
        if process is None or process.start_time != start_time:
            handle.close()
            raise EngineNotFoundError(f"process {pid} is not the engine any more")
        return handle
