"""A path as the host names it, and as this process opens it.

Three rules decide what a path from the user means: at or below the host root it is used unchanged;
below a mount passed to the container it is translated; any other path is a path on the host. Inside
the program paths are host paths. Symbolic links are resolved as the host would, and cannot lead out
of the host root.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from toolkit.errors import HostPathError
from toolkit.host.given_mounts import GivenMount, given_mounts
from toolkit.host.mounts import below, covering, join

_MAX_LINKS = 40
_MAX_PATH = 4095
_MAX_NAME = 255
_DESCRIPTORS = "/proc/self/fd"
"""Where this process finds its open files, even when their names change."""
_LOOKUPS = 8
"""Attempts to look up a path whose components change while it is opened."""


class NoDirectoryError(OSError):
    """The directory of an entry is missing, so the entry is too."""


class HostRoot(Struct, frozen=True, kw_only=True):
    """The host's root file system, and the mounts that show parts of it elsewhere."""

    root: str
    mounts: tuple[GivenMount, ...] = ()
    proc: str = "/proc"
    declared: tuple[GivenMount, ...] = ()
    """The mounts that the user declared; they count even outside a container."""

    @classmethod
    def detect(cls, host_root: str, *, proc: str = "/proc") -> HostRoot:
        """Read the mount tables.

        Raises HostPathError if the host root is not a directory, or /proc is not mounted.
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

    def with_declared(self, given: str, host_path: str) -> HostRoot:
        """Return the same host with the declared host path of one file added.

        The file's directory is mapped too, unless the two base names differ.
        """
        point, host = _checked(given), _checked(host_path)
        if point == host or self.host_path(given) == host:
            return self
        if os.path.basename(point) == os.path.basename(host):
            point, host = os.path.dirname(point), os.path.dirname(host)
        mount = GivenMount(point=point, host=host, known=True, writable=True)
        # A link on the way here may lead through the declared place itself.
        real = replace(mount, point=os.path.realpath(point))
        return replace(self, mounts=(*self.mounts, real), declared=(*self.declared, mount))

    def host_path(self, given: str) -> str:
        """Return the host path for a path from the user.

        Raises HostPathError for a path that is relative, empty, too long or contains ``..``.
        """
        return self._read(given)[0]

    def explain(self, given: str) -> str:
        """Explain in one line how a path from the user was read."""
        path, mount = self._read(given)
        if mount is None:
            return f"host path, opened as {self.access(path)}"
        if mount.point == self.root:
            return "as it stands" if path == given else f"host path {path}"
        if not mount.known:
            return f"below the mount {mount.point}, whose host path is not known; as it stands"
        return f"below the mount {mount.point}, host path {path}"

    def resolve(self, host_path: str) -> str:
        """Return the host path with every symbolic link resolved as the host would.

        Missing components are kept. Raises HostPathError for a loop of links or an unreadable
        directory.
        """
        return self._walk(_checked(host_path), follow_last=True)

    def access(self, host_path: str) -> str:
        """Return where this process opens a host path, with every symbolic link resolved."""
        return self.locate(self.resolve(host_path))

    def entry(self, host_path: str) -> str:
        """Return where this process finds the entry itself, which may be a link."""
        return self.locate(self._walk(_checked(host_path), follow_last=False))

    @contextlib.contextmanager
    def held(self, host_path: str, *, follow: bool = True) -> Iterator[str]:
        """Hold an entry's directory open; yield the path at which this process finds the entry.

        Work at that path reaches that very directory, even if it or a parent is replaced meanwhile.
        With ``follow`` a link as the last component is resolved first. Raises NoDirectoryError if
        the directory is missing, and OSError.
        """
        descriptor, name = self._hold(_checked(host_path), follow=follow)
        try:
            yield f"{_DESCRIPTORS}/{descriptor}/{name}".rstrip("/")
        finally:
            os.close(descriptor)

    def _hold(self, path: str, *, follow: bool) -> tuple[int, str]:
        """Open an entry's directory component by component, refusing links.

        A link found here was created after the path was resolved: the path is resolved again.
        """
        attempts = _LOOKUPS
        while True:
            attempts -= 1
            base, inside = self._placed(self._walk(path, follow_last=follow))
            directory, name = os.path.split(inside)
            if not inside:
                # The entry is itself a mount point, such as a single file.
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
        """Return the host path for a path of this process; raises HostPathError if it has none."""
        path = _checked(access_path)
        mount = covering(path, self.mounts) or covering(path, (self._root_mount,))
        if mount is None:
            raise HostPathError(f"{access_path} is not on the host, whose root is {self.root}")
        return join(mount.host, below(path, mount.point) or "")

    def locate(self, resolved: str) -> str:
        """Return where this process sees a host path without symbolic links.

        A given mount takes precedence over the host root, which may be read-only. If several mounts
        show the same directory, a writable one is used, and of those the one nearest to the root: a
        mount of an engine's own directory, passed for its socket, contains our mounts once more.
        """
        base, inside = self._placed(resolved)
        return join(base, inside) if inside.strip("/") else base

    def _placed(self, resolved: str) -> tuple[str, str]:
        """Return the mount point or root that shows a path without links, and the path below it."""
        showing = [mount for mount in self.mounts if below(resolved, mount.host) is not None]
        if showing:
            best = max(showing, key=lambda each: (len(each.host), each.writable, -len(each.point)))
            return best.point, below(resolved, best.host) or ""
        return self.root, resolved

    @property
    def _root_mount(self) -> GivenMount:
        return GivenMount(point=self.root, host="/", known=True, writable=True)

    def _read(self, given: str) -> tuple[str, GivenMount | None]:
        """Return the host path for a path from the user, and the mount that it is below."""
        path = _checked(given)
        for mount in (*self.declared, self._root_mount):
            inside = below(path, mount.point)
            if inside is not None:
                return join(mount.host, inside), mount
        # The image's own links count up to the mount point: /var/run/cdi is mounted at /run/cdi.
        for seen in (path, os.path.realpath(path), _real_parent(path)):
            found = covering(seen, self.mounts)
            if found is None:
                continue
            placed = join(found.host, below(seen, found.point) or "")
            same = found.known and self.resolve(path) == self.resolve(placed)
            return path if same else placed, found
        return path, None

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
    """Return a path without doubled slashes; raises HostPathError for an unusable path."""
    if not path:
        raise HostPathError("an empty path was given")
    shown = ascii(path[:80]) if not path.isprintable() else path[:80]
    if "\0" in path:
        raise HostPathError(f"{shown}: the path contains a NUL byte")
    if not path.startswith("/"):
        raise HostPathError(f"{shown}: the path is relative", "give an absolute path")
    names = [name for name in path.split("/") if name not in {"", "."}]
    if ".." in names:
        raise HostPathError(f"{shown}: the path contains '..'", "give the path without it")
    clean = "/" + "/".join(names)
    if len(os.fsencode(clean)) > _MAX_PATH or any(
        len(os.fsencode(name)) > _MAX_NAME for name in names
    ):
        raise HostPathError(f"{shown}…: {os.strerror(errno.ENAMETOOLONG)}")
    return clean


def _opened(base: str, inside: str) -> int:
    """Open a directory below ``base``, refusing links on the way. Raises OSError."""
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
    """Resolve the links of all but the last component: a mounted file may itself be a link."""
    directory, name = os.path.split(path)
    return os.path.join(os.path.realpath(directory), name)
