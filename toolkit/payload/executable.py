"""Whether the engine can execute the binaries that it reports as served.

An engine reports names only. A binary that was removed, was lost with an in-memory file system or
is hidden from the engine by a mount is noticed only when a container fails (``fork/exec … no such
file or directory``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from toolkit.engine.executable import obstacle, root_of
from toolkit.engine.facts import EngineProcess
from toolkit.errors import HostPathError
from toolkit.host.paths import HostRoot
from toolkit.payload.installer import PayloadInstaller
from toolkit.payload.manifest import sha256_of, stamp
from toolkit.payload.records import InstalledFile


class EngineView(Struct, frozen=True, kw_only=True):
    """The engine's view of the host's files, beside ours."""

    engine: str
    """The engine's name in messages."""
    process: EngineProcess | None
    host: HostRoot
    installer: PayloadInstaller


def unexecutable(view: EngineView, binaries: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Explain in one line for each binary why it cannot be executed; empty if all can be.

    ``binaries`` are pairs of a user and a path on the host, or a name that the engine looks up in
    its PATH. What cannot be read counts as fine. If the engine's own view is not known, only our
    files are checked, as the host has them.
    """
    root = root_of("" if view.process is None else view.process.root, view.host)
    if root is None:
        return ()
    found = ((user, _fault(view, root, binary)) for user, binary in binaries)
    return tuple(f"{user} can't be executed: {fault}" for user, fault in found if fault)


def _fault(view: EngineView, root: HostRoot, binary: str) -> str | None:
    process = view.process
    search_path = () if process is None else process.search_path
    ours = view.installer.programs(binary)
    if root is view.host and not ours:
        return None  # the engine's directories are not known
    for path in (binary, *(each.path for each in ours)):
        why = obstacle(root, path, search_path)
        if why is not None:
            own = process is not None and root is not view.host
            hidden = own and obstacle(view.host, path, search_path) is None
            return f"{why} {_elsewhere(view)}" if hidden else why
    return next(_altered(view, root, ours), None)


def _elsewhere(view: EngineView) -> str:
    pid = "" if view.process is None else f" (PID {view.process.pid})"
    return f"in the mount namespace of {view.engine}{pid}; the host's own is right"


def _altered(view: EngineView, root: HostRoot, files: Iterable[InstalledFile]) -> Iterator[str]:
    for each in files:
        try:
            whole = _is_whole(Path(root.access(each.path)), Path(view.host.access(each.path)), each)
        except (OSError, HostPathError) as error:
            yield f"{each.path} can't be read ({error})"
        else:
            if not whole:
                yield f"{each.path} is not the file that was installed"


def _is_whole(seen: Path, here: Path, file: InstalledFile) -> bool:
    """Return whether a file is as installed; it is read only if its stamp differs."""
    if file.stamp is not None and stamp(seen) == file.stamp:
        return True
    if file.stamp is None and seen.samefile(here):
        return True  # staged a moment ago, and every byte checked
    return sha256_of(seen) == file.sha256
