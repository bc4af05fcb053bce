"""One path, seen from two sides: as the host names it, and as this process opens it.

A path that the user gives is read by three rules: at or below the host root it is used as it
stands, below a mount that somebody gave the container too, and any other path is a path on the
host. Inside the program paths are host paths; symbolic links are looked up as the host would do it
and can't lead out of the host root.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from enum import Enum, auto

from msgspec import Struct
from msgspec.structs import replace

from toolkit.errors import HostPathError
from toolkit.host.given_mounts import GivenMount, given_mounts
from toolkit.host.mounts import below, join

_MAX_LINKS = 40
_MAX_PATH = 4095
_MAX_NAME = 255
_DESCRIPTORS = "/proc/self/fd"
"""Where this process finds what it has open, whatever becomes of its name."""
_LOOKUPS = 8
"""How often a path is looked up that others exchange while it is opened."""


class NoDirectoryError(OSError):
    """The directory of an entry is missing, so that the entry is too."""


class Reading(Enum):
    """By which rule a path was read."""

    BELOW_ROOT = auto()
    BELOW_MOUNT = auto()
    ON_HOST = auto()


class HostRoot(Struct, frozen=True, kw_only=True):
    """Where the host's root file system is seen, and which mounts show parts of it elsewhere."""

    root: str
    mounts: tuple[GivenMount, ...] = ()
    proc: str = "/proc"
    declared: tuple[GivenMount, ...] = ()
    """The mounts that the user declared; they count even outside a container."""

    @classmethod
    def detect(cls, host_root: str, *, proc: str = "/proc") -> HostRoot:
        """Look at the mount tables.

        Raises HostPathError where the host root is not a directory, and without /proc.
        """
        if not os.path.isdir(_DESCRIPTORS):
            raise HostPathError(
                "/proc is not mounted: no file can be opened safely", "mount it, as engines do"
            )
        root = os.path.realpath(_checked(host_root))
        if not os.path.isdir(root):
            raise HostPathError(
                f"host root {host_root} is not a directory",
                "mount the host's root file system there or name it with --host-root",
            )
        return cls(root=root, mounts=given_mounts(root, proc), proc=proc)

    def placed(self, given: str, host_path: str) -> HostRoot:
        """Return the same host, with the host's path of one file as the user declared it.

        With the file goes its directory, unless the two names of the file differ.
        """
        point, host = _checked(given), _checked(host_path)
        if point == host or self.host_path(given) == host:
            return self
        if os.path.basename(point) == os.path.basename(host):
            point, host = os.path.dirname(point), os.path.dirname(host)
        mount = GivenMount(point=point, host=host, known=True, writable=True)
        # A link on the way here may lead through the very place that is declared.
        real = replace(mount, point=os.path.realpath(point))
        return replace(self, mounts=(*self.mounts, real), declared=(*self.declared, mount))

    def host_path(self, given: str) -> str:
        """Return the host's name for a path that the user gave.

        Raises HostPathError for a path that is relative, empty, too long or has ``..`` in it.
        """
        return self._read(given)[1]

    def explain(self, given: str) -> str:
        """Say in one line how a path was read."""
        reading, path, mount = self._read(given)
        if reading is Reading.BELOW_ROOT:
            return f"{given}: host path {path}" if path != given else f"{given}: as it stands"
        if mount is None:
            return f"{given}: host path, opened as {self.access(path)}"
        if not mount.known:
            return (
                f"{given}: below the mount {mount.point}, whose place on the host can't be told; "
                "taken as it stands"
            )
        return f"{given}: below the mount {mount.point}, host path {path}"

    def resolve(self, host_path: str) -> str:
        """Return the host path with every symbolic link followed, as the host would follow it.

        Components that are missing are kept as they are. Raises HostPathError for a loop of links
        or a directory that can't be looked into.
        """
        return self._walk(_checked(host_path), follow_last=True)

    def access(self, host_path: str) -> str:
        """Return where this process opens a host path, every symbolic link followed."""
        return self.locate(self.resolve(host_path))

    def entry(self, host_path: str) -> str:
        """Return where this process finds the entry itself; a link in the last place stays."""
        return self.locate(self._walk(_checked(host_path), follow_last=False))

    @contextlib.contextmanager
    def held(self, host_path: str, *, follow: bool = True) -> Iterator[str]:
        """Hold the directory that an entry is in; yield where this process finds the entry.

        What is done there reaches that very directory, whatever is put in the place of it or of
        one above it meanwhile. With ``follow`` the entry is the one that a link in the last place
        leads to. Raises NoDirectoryError where the directory is missing, and OSError.
        """
        descriptor, name = self._hold(_checked(host_path), follow=follow)
        try:
            yield f"{_DESCRIPTORS}/{descriptor}/{name}".rstrip("/")
        finally:
            os.close(descriptor)

    def _hold(self, path: str, *, follow: bool) -> tuple[int, str]:
        """Open the directory of an entry component by component, none of which may be a link.

        A link that is met was put there after the path had been looked up: that is done again.
        """
        attempts = _LOOKUPS
        while True:
            attempts -= 1
            base, inside = self._placed(self._walk(path, follow_last=follow))
            directory, name = os.path.split(inside)
            if not inside:
                # The entry is a mount point of its own, such as a single file.
                base, name = os.path.split(base)
            try:
                return _opened(base, directory), name
            except FileNotFoundError as error:
                raise NoDirectoryError(error.errno, error.strerror) from error
            except OSError as error:
                if error.errno not in {errno.ELOOP, errno.ENOTDIR}:
                    raise
                if not attempts:
                    raise NoDirectoryError(error.errno, error.strerror) from error

    def host_of(self, access_path: str) -> str:
        """Return the host's name for a path of this process; raises HostPathError if none."""
        path = _checked(access_path)
        mount = self._mount_at(path)
        if mount is not None:
            return join(mount.host, below(path, mount.point) or "")
        rest = below(path, self.root)
        if rest is None:
            raise HostPathError(f"{access_path} is not on the host, whose root is {self.root}")
        return rest or "/"

    def locate(self, resolved: str) -> str:
        """Return where this process sees a host path that has no symbolic links in it.

        A given mount comes before the host root, which may be read-only; of several mounts that
        show the same directory a writable one is taken, and of those the one nearest to the root:
        an engine's own directory, given for its socket, has all of our mounts in it once more.
        """
        base, inside = self._placed(resolved)
        return join(base, inside) if inside.strip("/") else base

    def _placed(self, resolved: str) -> tuple[str, str]:
        """Return the mount point or root that shows a path without links, and the path in it."""
        showing = [mount for mount in self.mounts if below(resolved, mount.host) is not None]
        if showing:
            best = max(showing, key=lambda each: (len(each.host), each.writable, -len(each.point)))
            return best.point, below(resolved, best.host) or ""
        return self.root, resolved

    def _read(self, given: str) -> tuple[Reading, str, GivenMount | None]:
        path = _checked(given)
        for declared in self.declared:
            inside = below(path, declared.point)
            if inside is not None:
                return Reading.BELOW_MOUNT, join(declared.host, inside), declared
        rest = below(path, self.root)
        if rest is not None:
            return Reading.BELOW_ROOT, rest or "/", None
        # The image's own links count up to the mount point: /var/run/cdi is mounted at /run/cdi.
        for seen in (path, os.path.realpath(path), _real_parent(path)):
            mount = self._mount_at(seen)
            if mount is None:
                continue
            placed = join(mount.host, below(seen, mount.point) or "")
            same = mount.known and self.resolve(path) == self.resolve(placed)
            return Reading.BELOW_MOUNT, path if same else placed, mount
        return Reading.ON_HOST, path, None

    def _mount_at(self, path: str) -> GivenMount | None:
        found: GivenMount | None = None
        for mount in self.mounts:
            deeper = found is None or len(mount.point) >= len(found.point)
            if below(path, mount.point) is not None and deeper:
                found = mount
        return found

    def _walk(self, path: str, *, follow_last: bool) -> str:
        todo = path.split("/")[::-1]
        done = "/"
        links = 0
        while todo:
            name = todo.pop()
            if name in {"", "."}:
                continue
            if name == "..":
                done = os.path.dirname(done)
                continue
            here = join(done, "/" + name)
            target = self._link_target(here) if follow_last or any(todo) else None
            if target is None:
                done = here
                continue
            links += 1
            if links > _MAX_LINKS:
                raise HostPathError(f"{path}: {os.strerror(errno.ELOOP)}")
            if target.startswith("/"):
                done = "/"
            todo.extend(target.split("/")[::-1])
        return done

    def _link_target(self, resolved: str) -> str | None:
        place = self.locate(resolved)
        try:
            if not stat.S_ISLNK(os.lstat(place).st_mode):
                return None
            return os.readlink(place)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR}:
                return None
            raise HostPathError(f"{resolved}: {error.strerror}") from error


def _checked(path: str) -> str:
    """Return a path without doubled slashes; raises HostPathError for one that can't be used."""
    if not path:
        raise HostPathError("an empty path was given")
    shown = ascii(path[:80]) if not path.isprintable() else path[:80]
    if "\0" in path:
        raise HostPathError(f"{shown}: the path holds a NUL byte")
    if not path.startswith("/"):
        raise HostPathError(f"{shown}: the path is relative", "give an absolute path")
    names = [name for name in path.split("/") if name not in {"", "."}]
    if ".." in names:
        raise HostPathError(f"{shown}: the path holds '..'", "give the path without it")
    clean = "/" + "/".join(names)
    if len(os.fsencode(clean)) > _MAX_PATH or any(
        len(os.fsencode(name)) > _MAX_NAME for name in names
    ):
        raise HostPathError(f"{shown}…: {os.strerror(errno.ENAMETOOLONG)}")
    return clean


def _opened(base: str, inside: str) -> int:
    """Open a directory below one that is ours; no link is followed on the way. Raises OSError."""
    descriptor = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    for name in inside.split("/"):
        if name:
            outer = descriptor
            try:
                descriptor = os.open(name, flags, dir_fd=outer)
            finally:
                os.close(outer)
    return descriptor


def _real_parent(path: str) -> str:
    """Follow the links of all but the last component: a mounted file may itself be a link."""
    directory, name = os.path.split(path)
    return os.path.join(os.path.realpath(directory), name)
