"""The mounts passed to this container, and the host path of each."""

from __future__ import annotations

import os
from collections.abc import Sequence

from toolkit.host.mounts import (
    Mount,
    Mounted,
    below,
    covering,
    place_on_host,
    read_mountinfo,
    rebased,
)

_HOST_MOUNT = "/host"
NO_HOST_ROOT = (
    "this is a container, and the host's root is not mounted in it",
    "mount it at /host (docker run -v /:/host, a hostPath volume of /), or give --host-root",
)
"""The problem where ``own_root_is_container_image`` and no other root was named, and the fix."""
_NOT_GIVEN = frozenset({"/", "/proc", "/sys", "/dev", "/run", "/var/run", "/tmp"})  # noqa: S108 - a mount point, no file is made there
_ENGINE_FILES = frozenset({"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"})
_LAYERED = frozenset({"overlay", "fuse-overlayfs", "aufs"})
_MANAGERS = (b"systemd\n", b"init\n")


class GivenMount(Mounted, frozen=True, kw_only=True):
    """A mount passed to the container."""

    host: str
    """The host path of the same directory or file; ``point`` where it is not known."""
    known: bool
    """Whether the host path is known."""


def default_host_root(*, proc: str = "/proc") -> str:
    """Return the default host root: /host if it is a mount, else /."""
    own = read_mountinfo(os.path.join(proc, "self/mountinfo"))
    mounted = any(mount.point == _HOST_MOUNT for mount in own)
    return _HOST_MOUNT if mounted else "/"


def given_mounts(root: str, proc: str) -> tuple[GivenMount, ...]:
    """Return the mounts passed to this process's container; empty outside a container.

    ``root`` is the path of the host's root, without symbolic links.
    """
    own = read_mountinfo(os.path.join(proc, "self/mountinfo"))
    if not _in_container(root, own, proc):
        return ()
    tables = [rebased(own, root), *_tables_of_init(root, own, proc)]
    return tuple(_located(mount, tables) for mount in own if _is_given(mount, root))


def own_root_is_container_image(proc: str) -> bool:
    """Return whether this process's own root is a container image.

    A node that is itself a container (kind) has a container's mounts too, but its PID 1 is a
    service manager. A live system's root is layered too, but kthreadd runs beside its PID 1.
    """
    own = read_mountinfo(f"{proc}/self/mountinfo")
    if not _looks_like_container(own):
        return False
    of_init = read_mountinfo(f"{proc}/1/mountinfo")
    if not {mount.number for mount in own} & {mount.number for mount in of_init}:
        return True
    try:
        with open(f"{proc}/1/comm", "rb") as file:
            managed = file.read() in _MANAGERS
    except OSError:
        managed = False
    return not managed and not os.path.exists(f"{proc}/2/comm")


def _in_container(root: str, own: Sequence[Mount], proc: str) -> bool:
    """Return whether this process runs in a container that sees the host through a mount.

    A host root that is not a mount (a plain directory, or / itself) means no container. On a plain
    machine the host root may be a mounted disk: then PID 1 has the same mounts.
    """
    if root == "/" or not any(mount.point == root for mount in own):
        return False
    of_init = read_mountinfo(f"{proc}/1/mountinfo")
    if of_init and not {mount.number for mount in own} & {mount.number for mount in of_init}:
        return True
    return _looks_like_container(own)


def _looks_like_container(own: Sequence[Mount]) -> bool:
    top = covering("/", own)
    layered = top is not None and top.kind in _LAYERED
    return layered or any(mount.point in _ENGINE_FILES for mount in own)


def _tables_of_init(root: str, own: Sequence[Mount], proc: str) -> list[tuple[Mount, ...]]:
    """Return the mount tables of the host's PID 1, where they can be read.

    A table whose root differs from what is mounted at the host root belongs to another host (this
    container's own, or the machine's while the host root shows a part of it).
    """
    seen = covering(root, own)
    tables = []
    for path in (f"{proc}/1/mountinfo", f"{root}/proc/1/mountinfo"):
        table = read_mountinfo(path)
        top = covering("/", table)
        if seen and top and (top.device, top.root) == (seen.device, seen.root):
            tables.append(table)
    return tables


def _is_given(mount: Mount, root: str) -> bool:
    if mount.point in _NOT_GIVEN or mount.point in _ENGINE_FILES:
        return False
    return below(mount.point, root) is None


def _located(mount: Mount, tables: Sequence[Sequence[Mount]]) -> GivenMount:
    places = (place_on_host(mount, table) for table in tables)
    host = next((place for place in places if place is not None), None)
    return GivenMount(
        point=mount.point,
        host=host or mount.point,
        known=host is not None,
        writable=mount.writable,
    )
