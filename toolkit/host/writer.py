"""The protocol for changing the host's files: one real writer, fakes in tests."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

from msgspec import Struct, field

ACL = "system.posix_acl_access"
"""The extended attribute of a file's POSIX ACL; a directory's default ACL creates it."""


class FileMetadata(Struct, frozen=True, kw_only=True):
    """Mode, owner and extended attributes (including SELinux labels) of a file."""

    mode: int
    """Permission bits, such as 0o644."""
    uid: int = 0
    gid: int = 0
    xattrs: Mapping[str, bytes] = field(default_factory=dict)


class FileState(Struct, frozen=True, kw_only=True):
    """A regular file's bytes and metadata at one moment."""

    content: bytes
    metadata: FileMetadata
    links: int = 1
    """Number of names (hard links) of the file."""


class NewLink(Struct, frozen=True, kw_only=True):
    """A symbolic link to create."""

    target: str


NewEntry = bytes | Path | NewLink | None
"""What to create: a file of these bytes, a copy of a file of this process, a link, a directory."""


Known = Collection[bytes | None] | None
"""The allowed contents of a file (a None among them: absent); None allows any."""


class FileWriter(Protocol):
    """The only way to change a file on the host. All paths are host paths.

    Every method raises HostPathError naming the host path. After an error or a crash each path
    holds either its old or its new content, whole.

    ``read``, ``write`` and ``remove`` act on the file that the path leads to: a symbolic link
    stays, and its target, resolved inside the host root, is read, replaced or removed; with
    ``follow=False`` a link is an error. Every other method acts on the entry itself.
    """

    def read(self, path: str) -> FileState | None:
        """Return the file, or None if there is none. Raises HostPathError for anything else."""

    def require_writable(self, path: str) -> None:
        """Raise NotWritableError where ``write`` or ``remove`` would fail; nothing is tried.

        A file system that is full is not noticed.
        """

    def write(
        self,
        path: str,
        content: bytes,
        metadata: FileMetadata | None = None,
        *,
        instead_of: Known = None,
        follow: bool = True,
    ) -> None:
        """Write a whole file, durably.

        Without ``metadata`` it keeps those of the file that it replaces; a new file gets 0644 and
        the owner root. The directory must exist. Raises ConcurrentEditError, without writing, if
        the file's content just before the replacement is not in ``instead_of``.
        """

    def remove(self, path: str, *, instead_of: Known = None, follow: bool = True) -> None:
        """Remove a file, durably; a missing one is not an error.

        Raises ConcurrentEditError as ``write`` does.
        """

    def remove_link(self, path: str) -> None:
        """Remove a symbolic link, durably, not its target; a missing one is not an error."""

    def real_path(self, path: str) -> str:
        """Return a path with every symbolic link resolved; missing components are kept."""

    def missing_directories(self, path: str) -> tuple[str, ...]:
        """Return the real paths that ``make_directories`` would create, outermost first."""

    def make_directories(self, path: str, mode: int = 0o755) -> tuple[str, ...]:
        """Create a directory and its missing parents, durably.

        Returns the directories created, outermost first.
        """

    def remove_directory(self, path: str) -> bool:
        """Remove a directory if it exists and is empty, durably; return whether it is gone."""

    def exchange(self, first: str, second: str) -> None:
        """Exchange two entries of one file system in one step (RENAME_EXCHANGE), durably.

        Raises ExchangeUnsupportedError if the file system or a mount does not allow it.
        """

    def rename(self, source: str, target: str) -> None:
        """Rename an entry within a file system, durably; ``target`` is not a directory in use."""

    def link(self, path: str, target: str) -> None:
        """Make ``path`` a symbolic link to ``target``, in one step, durably."""

    def create(self, path: str, content: NewEntry, metadata: FileMetadata) -> None:
        """Create an entry in a tree that nobody reads yet; durable only after ``sync_tree``.

        A ``Path`` names a file of this process, which the kernel copies. The entry must not exist.
        A link has no metadata of its own. Safe to call from several threads.
        """

    def sync_tree(self, path: str) -> None:
        """Sync a directory and everything below it, with one wait."""

    def remove_tree(self, path: str) -> None:
        """Remove a directory tree without following links or crossing mounts.

        A missing directory is not an error.
        """

    def clean_leftovers(self, directory: str) -> None:
        """Remove the temporary files that a killed process left in a directory or beside it.

        Writing to and removing from a directory do so too. A missing directory is not an error.
        """
