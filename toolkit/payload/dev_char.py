"""Links ``/dev/char/MAJOR:MINOR`` to the driver's device nodes, as udev creates them for others.

A container is granted its devices under those names. systemd looks each one up at a
``daemon-reload``, and a container whose GPU has no link loses it. ``nvidia-modprobe`` creates
NVIDIA's nodes without udev, so they have no links.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from toolkit import logs
from toolkit.errors import HostPathError
from toolkit.host import followed
from toolkit.host.writer import FileWriter
from toolkit.payload.cdi_sources import device_entries
from toolkit.payload.driver import Driver, device_directory
from toolkit.payload.state_file import StateFile

log = logs.get(__name__)

DIRECTORY = "/dev/char"
_NODES = ("nvidia*", "nvidia-caps/nvidia-cap*", "nvidia-caps-imex-channels/channel*")


class LinkRecord(Struct, frozen=True, kw_only=True):
    """Our links, by path, each with its target; host paths."""

    links: Mapping[str, str] = {}
    kept: Mapping[str, str] | None = None
    """The links before a setup that may still be undone; None if there is no such setup."""
    directories: tuple[str, ...] = ()


class DevCharLinks:
    """The links of one install directory. Only our links are ever changed or removed."""

    def __init__(
        self, *, driver: Driver, enabled: bool, writer: FileWriter, directory: str
    ) -> None:
        """Set the paths; ``directory``, on the host, contains the record."""
        self._driver = driver
        self._enabled = enabled
        self._record = StateFile(
            LinkRecord, writer=writer, directory=directory, name="dev-char.json"
        )
        self._root = driver.host
        self._writer = writer
        self._seen: dict[str, str] = {}

    def apply(self) -> None:
        """Create the links of all nodes, and remove our links of nodes that are gone.

        A failure is logged, not raised.
        """
        directories = self._places()
        self._seen = {each: followed.state_of(each) for each in _entries(directories)}
        try:
            self._apply(self._record.load() or LinkRecord(), _wanted(directories))
        except HostPathError as error:
            log.warning("devices.link_failed", "links in /dev/char are missing", reason=str(error))

    def _apply(self, record: LinkRecord, wanted: Mapping[str, str]) -> None:
        stale = {path: to for path, to in record.links.items() if wanted.get(path) != to}
        self._remove(stale)
        left = {path: to for path, to in record.links.items() if path not in stale}
        new = {path: to for path, to in wanted.items() if not self._is_taken(path)}
        kept = record.links if record.kept is None else record.kept
        made = () if not new else self._writer.missing_directories(DIRECTORY)
        changed = replace(
            record, links={**left, **new}, kept=kept, directories=(*record.directories, *made)
        )
        if changed.links != record.links:
            self._record.save(changed)
        if new:
            self._writer.make_directories(DIRECTORY)
        for path, target in new.items():
            self._writer.link(path, target)
        if new or stale:
            log.step("devices.linked", "links in /dev/char", made=len(new), removed=len(stale))

    def undo(self) -> None:
        """Restore the links from before the setup; can be repeated."""
        record = self._record.load() or LinkRecord()
        if record.kept is not None:
            kept = record.kept
            self._remove({path: to for path, to in record.links.items() if path not in kept})
            self._settle(replace(record, links=kept))

    def commit(self) -> None:
        """Make the links final; can be repeated."""
        record = self._record.load() or LinkRecord()
        if record.kept is not None:
            self._settle(record)

    def remove(self) -> None:
        """Remove every link that is still ours."""
        record = self._record.load() or LinkRecord()
        self._remove(record.links)
        self._settle(replace(record, links={}))

    def entries(self) -> tuple[tuple[str, str], ...]:
        """Return the entries that the links depend on, with their states before ``apply``."""
        entries = _entries(self._places())
        return tuple((each, self._seen.get(each, followed.UNKNOWN)) for each in entries)

    def _places(self) -> dict[str, Path]:
        """Return the directories with device nodes, by host path; none if links are not wanted."""
        if not self._enabled:
            return {}
        here = device_directory(str(self._driver.dev_root))
        return {
            device_directory(self._driver.settings.dev_root): Path(here),
            "/dev": Path(self._root.access("/dev")),
        }

    def _is_taken(self, path: str) -> bool:
        return os.path.lexists(self._root.entry(path))

    def _remove(self, links: Mapping[str, str]) -> None:
        for path, target in links.items():
            entry = self._root.entry(path)
            if os.path.islink(entry) and os.readlink(entry) == target:
                self._writer.remove_link(path)

    def _settle(self, record: LinkRecord) -> None:
        if record.links:
            self._record.save(replace(record, kept=None))
            return
        for path in reversed(record.directories):
            self._writer.remove_directory(path)
        self._record.remove()


def _entries(directories: Mapping[str, Path]) -> tuple[str, ...]:
    return tuple(entry for seen in directories.values() for entry in device_entries(seen))


def _wanted(directories: Mapping[str, Path]) -> dict[str, str]:
    """Return each link with its target; a node in /dev precedes one in a driver root."""
    return {
        f"{DIRECTORY}/{os.major(device)}:{os.minor(device)}": posixpath.join(host, name)
        for host, seen in directories.items()
        for name, device in _nodes(seen)
    }


def _nodes(directory: Path) -> Iterator[tuple[str, int]]:
    for pattern in _NODES:
        for path in sorted(directory.glob(pattern)):
            try:
                state = path.lstat()
            except OSError:  # removed meanwhile
                continue
            if stat.S_ISCHR(state.st_mode):
                yield str(path.relative_to(directory)), state.st_rdev
