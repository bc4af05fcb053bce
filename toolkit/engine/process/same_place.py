"""Whether the user's path and the running daemon's path mean the same file."""

from __future__ import annotations

import os
import posixpath

from toolkit.errors import HostPathError
from toolkit.host.paths import HostRoot


def same_place(root: HostRoot, declared: str, running: str) -> bool:
    """Return whether two host paths are one file, or one name in one directory; it need not exist.

    The host path of a directory mounted into the container is not always known, but its inode is.
    """
    try:
        if root.resolve(declared) == root.resolve(running):
            return True
        seen, actual = root.access(declared), root.access(running)
    except HostPathError:
        return False
    return _same_file(seen, actual) or (
        posixpath.basename(seen) == posixpath.basename(actual)
        and _same_file(posixpath.dirname(seen), posixpath.dirname(actual))
    )


def _same_file(first: str, second: str) -> bool:
    try:
        return os.path.samefile(first, second)
    except OSError:
        return False
