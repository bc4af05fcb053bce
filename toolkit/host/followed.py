"""The sources of a CDI spec, which the resident process checks twice a second.

Imports only C modules of the standard library. The kernel reports no changes in /proc and /sys, and
those modules have no inotify: a look is one ``stat`` per entry, and a directory is listed again
only if its ``stat`` has changed.
"""

import posix
import time

LOOK_SECONDS = 0.5
"""Seconds between two looks."""
QUIET_SECONDS = 0.25
"""Seconds without a change before the spec is generated again: drivers are replaced file by
file."""
SETTLED_NS = 100_000_000
"""A directory that changed less than this ago may change again with the same time stamp."""
MISSING = "-"
UNKNOWN = "?"
"""A state that no entry has."""

NAMED = "="
"""A file or device that the spec names: it must exist, and its type must not change."""
TEXT = "<"
"""A short file of the kernel, by its content."""
DRIVER_ENTRIES = "n"
"""The entries of a directory that have a driver's name."""
ENTRIES = "*"
"""All entries of a directory."""
RETRY = "!"
"""Followed by seconds, after which the spec is generated again in any case."""

_OF_THE_DRIVER = ("nvidia", "cuda", "libnv")
_TEXT_BYTES = 256
_TYPE = 0o170000
_LINK = 0o120000


def state_of(entry: str) -> str:
    """Return a value that changes with the entry's state; ``-`` if the entry is missing."""
    kind, path = entry[:1], entry[1:]
    try:
        if kind == NAMED:
            return _what(posix.stat(path))
        if kind == TEXT:
            return _text(path)
        if kind in (ENTRIES, DRIVER_ENTRIES):
            return _listing(path, whole=kind == ENTRIES)
    except OSError:
        return MISSING
    return ""


def _what(found: posix.stat_result) -> str:
    return f"{found.st_mode & _TYPE:o}:{found.st_rdev:x}"


def _text(path: str) -> str:
    file = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    try:
        return posix.read(file, _TEXT_BYTES).decode(errors="replace").replace("\0", "")
    finally:
        posix.close(file)


def _listing(path: str, *, whole: bool) -> str:
    found = []
    for name in sorted(posix.listdir(path)):
        if whole or any(part in name for part in _OF_THE_DRIVER):
            try:
                state = posix.lstat(f"{path}/{name}")
                link = state.st_mode & _TYPE == _LINK
                what = posix.readlink(f"{path}/{name}") if link else _what(state)
            except OSError:
                continue
            found.append(f"{name} {what}")
    return "\n".join(found)


class Followed:
    """Entries, each with its state when the spec was generated."""

    def __init__(self, known: "list[tuple[str, str]]") -> None:
        self._known = [each for each in known if each[0][:1] != RETRY]
        waits = [float(entry[1:]) for entry, _ in known if entry[:1] == RETRY]
        self._retry = time.monotonic() + waits[0] if waits else -1.0
        self._listed: dict[str, tuple[tuple[int, ...], str]] = {}
        self._last = [state for _, state in self._known]
        self._since = -1.0
        """Time of the last change; negative if there was none."""
        self.fault = ""
        """Why the node is not ready; empty if there is no reason."""
        self.settled = False
        """Whether the spec must be generated again and the driver is stable."""

    def look(self) -> float:
        """Look at all entries; return the seconds until the next look."""
        now = time.monotonic()
        found = [self._state(entry) for entry, _ in self._known]
        if found != self._last:
            self._last, self._since = found, now
        # A fault stays even if it has passed: only the daemon marks the node ready.
        self.fault = self._fault(found) or self.fault
        self.settled = 0 <= self._since <= now - QUIET_SECONDS or 0 <= self._retry <= now
        return LOOK_SECONDS if self._since < 0 else QUIET_SECONDS

    def _fault(self, found: "list[str]") -> str:
        fault = ""
        for (entry, known), state in zip(self._known, found, strict=True):
            if state == MISSING and entry[:1] == NAMED:
                return f"the CDI spec names {entry[1:]}, which is not there"
            if state != known and not fault:
                fault = f"the driver changed: {entry[1:]}"
        return fault

    def _state(self, entry: str) -> str:
        """Return an entry's state; a directory is listed only if it has changed."""
        if entry[:1] not in (ENTRIES, DRIVER_ENTRIES):
            return state_of(entry)
        try:
            found = posix.stat(entry[1:])
        except OSError:
            return MISSING
        # Directories in /proc have no time of their own, but count subdirectories as links.
        stamp = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_nlink)
        known = self._listed.get(entry)
        if known is not None and known[0] == stamp:
            return known[1]
        state = state_of(entry)
        if time.time_ns() - found.st_mtime_ns > SETTLED_NS:
            self._listed[entry] = (stamp, state)
        return state
