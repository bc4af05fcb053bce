"""The kernel's mount tables, and the host path behind a mount."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

_IN_MEMORY = frozenset({"tmpfs", "ramfs", "rootfs"})
_ESCAPE = re.compile(r"\\([0-7]{3})")
Found = TypeVar("Found", bound="Mounted")


class Mounted(Struct, frozen=True, kw_only=True):
    """A mount as one process sees it."""

    point: str
    """The mount point."""
    writable: bool


class Mount(Mounted, frozen=True, kw_only=True):
    """One line of mountinfo (proc(5))."""

    number: str
    """The mount ID, unique on the machine, whatever the mount namespace."""
    device: str
    """``major:minor``, the same in every mount namespace."""
    root: str
    """The directory or file of the file system that is mounted."""
    kind: str
    """File system type, such as ``ext4`` or ``overlay``."""
    options: str = ""
    """The file system's own options, separated by commas, such as an overlay's ``upperdir=…``."""


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """Parse a mount table, in the order of mounting; malformed lines are skipped."""
    mounts = []
    for line in text.split("\n"):
        fields = line.split(" ")
        try:
            dash = fields.index("-", 6)
            device, root, point, options = fields[2:6]
            kind = fields[dash + 1]
            of_the_file_system = " ".join(fields[dash + 3 :])
        except (ValueError, IndexError):
            continue
        mounts.append(
            Mount(
                number=fields[0],
                device=device,
                root=_unescape(root),
                point=_unescape(point),
                writable="rw" in options.split(","),
                kind=kind,
                options=_unescape_text(of_the_file_system),
            )
        )
    return tuple(mounts)


def read_mountinfo(path: str) -> tuple[Mount, ...]:
    """Read a mount table from a file of /proc; an unreadable one counts as empty."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return parse_mountinfo(file.read())
    except OSError:
        return ()


def below(path: str, directory: str) -> str | None:
    """Return what follows ``directory`` in ``path`` ("" or "/…"); None if it is not below."""
    if directory == "/":
        return "" if path == "/" else path
    if path == directory:
        return ""
    return path[len(directory) :] if path.startswith(directory + "/") else None


def join(directory: str, rest: str) -> str:
    """Join the two parts that ``below`` splits."""
    return (directory if directory != "/" else "") + rest or "/"


def covering(path: str, mounts: Sequence[Found]) -> Found | None:
    """Return the mount visible at a path: the deepest one, the last of several at one point."""
    reaching = [each for each in reversed(mounts) if below(path, each.point) is not None]
    return max(reaching, key=lambda each: len(each.point), default=None)


def rebased(mounts: Sequence[Mount], directory: str) -> tuple[Mount, ...]:
    """Return the part of a table at and below a directory, as if that directory were the root."""
    parts = [(mount, below(mount.point, directory)) for mount in mounts]
    return tuple(replace(mount, point=rest or "/") for mount, rest in parts if rest is not None)


def place_on_host(mount: Mount, host: Sequence[Mount]) -> str | None:
    """Return the host path that shows the same file as a mount's root, by the host's own table.

    A place that another mount hides does not count. If several remain, the mount nearest to the
    root is used, so that the name is not that of a bind mount on the host.
    """
    if mount.root.endswith("//deleted"):
        return None
    places = []
    for candidate in host:
        rest = below(mount.root, candidate.root)
        if candidate.device != mount.device or rest is None:
            continue
        path = join(candidate.point, rest)
        if covering(path, host) is candidate:
            places.append((len(candidate.point), path))
    return min(places)[1] if places else None


def memory_file_system(device: str, own: Sequence[Mount], host: Sequence[Mount]) -> str | None:
    """Return the in-memory file system that holds a device's files, which a reboot clears, or None.

    ``own`` is the table of a process that sees the device, ``host`` that of the one that mounted
    it: an overlay names its upper directory as that process sees it. Unknown counts as None.
    """
    mount = next((each for each in own if each.device == device), None)
    if mount is None:
        return None
    if mount.kind in _IN_MEMORY:
        return mount.kind
    upper = re.search(r"(?:^|,)upperdir=([^,]+)", mount.options)
    below_it = None if upper is None else covering(upper[1], host)
    if upper is None or below_it is None or below_it.kind not in _IN_MEMORY:
        return None
    return f"{mount.kind} with its upper directory {upper[1]} on {below_it.kind}"


def _unescape_text(field: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), field)


def _unescape(field: str) -> str:
    raw = _unescape_text(field)
    return os.path.normpath(raw) if not raw.endswith("//deleted") else raw
