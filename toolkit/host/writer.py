"""What may be done to the host's files, as a protocol: one real writer, fakes in tests."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

from msgspec import Struct, field

ACL = "system.posix_acl_access"
"""The extended attribute that a file's POSIX ACL is; a directory's default ACL makes it."""


class FileMetadata(Struct, frozen=True, kw_only=True):
    """Mode, owner and extended attributes (SELinux labels are among them) of a file."""

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
    """How many names the file has; more than one are hard links."""


class NewLink(Struct, frozen=True, kw_only=True):
    """A symbolic link to be created."""

    target: str


NewEntry = bytes | Path | NewLink | None
"""What to create: a file of these bytes, a copy of a file of this process, a link, a directory."""


Known = Collection[bytes | None] | None
"""The contents, one of which a file has to hold (None: it is absent); without it any will do."""


class FileWriter(Protocol):
    """The only way to change a file on the host. All paths are host paths.

    Every method raises HostPathError naming the host path; after an error or a crash each path
    holds either what it held before or what it should hold, whole.

    ``read``, ``write`` and ``remove`` mean the file that the path leads to: a symbolic link at the
    path stays, and its target, looked up inside the host root, is read, replaced or removed; with
    ``follow=False`` a link is an error. Every other method means the entry itself.
    """

    def read(self, path: str) -> FileState | None:
        """Return the file, or None where there is none. Raises HostPathError for anything else."""

    def write(
        self,
        path: str,
        content: bytes,
        metadata: FileMetadata | None = None,
        *,
        instead_of: Known = None,
        follow: bool = True,
    ) -> None:
        """Put a whole file in place, durably.

        Without ``metadata`` it keeps those of the file that it replaces; a new file gets 0644 and
        the owner root. The directory must exist. Raises ConcurrentEditError where the file holds
        something else than ``instead_of`` at the last moment: nothing is written then.
        """

    def remove(self, path: str, *, instead_of: Known = None, follow: bool = True) -> None:
        """Remove a file, durably; one that is gone already is not an error.

        Raises ConcurrentEditError as ``write`` does.
        """

    def remove_link(self, path: str) -> None:
        """Remove a symbolic link, durably, not its target; one that is gone is not an error."""

    def real_path(self, path: str) -> str:
        """Return a path with every symbolic link followed; what is missing is kept as it is."""

    def missing_directories(self, path: str) -> tuple[str, ...]:
        """Return what ``make_directories`` would have to make, outermost first, as real paths."""

    def make_directories(self, path: str, mode: int = 0o755) -> tuple[str, ...]:
        """Make a directory and its missing parents, durably; return those made, outermost first."""

    def remove_directory(self, path: str) -> bool:
        """Remove a directory if it is there and empty, durably; return whether it is gone."""

    def exchange(self, first: str, second: str) -> None:
        """Exchange two entries of the same file system in one step (RENAME_EXCHANGE), durably.

        Raises ExchangeUnsupportedError where the file system or a mount does not allow it.
        """

    def rename(self, source: str, target: str) -> None:
        """Rename an entry within a file system, durably; ``target`` is not a directory in use."""

    def link(self, path: str, target: str) -> None:
        """Make ``path`` a symbolic link to ``target``, in one step, durably."""

    def create(self, path: str, content: NewEntry, metadata: FileMetadata) -> None:
        """Make a new entry in a tree that nobody reads yet, not durable before ``sync_tree``.

        A ``Path`` is a file as this process sees it, and its bytes are copied by the kernel. The
        entry must not exist. A link has no metadata of its own. Safe to call from several threads.
        """

    def sync_tree(self, path: str) -> None:
        """Make a directory and all that is below it durable; one wait for the whole of it."""

    def remove_tree(self, path: str) -> None:
        """Remove a directory with all that is below it, never following a link or leaving a mount.

        One that is gone already is not an error.
        """

    def clean_leftovers(self, directory: str) -> None:
        """Remove the temporary files that a killed process left in a directory or beside it.

        Writing to and removing from a directory do so too. One that is missing is not an error.
        """
