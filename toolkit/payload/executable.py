"""Whether the engine can execute the binaries that it reports as served.

An engine reports names. That a binary went with a file system in memory, is hidden from the engine
by a mount, or was removed by hand, shows only when a container fails (``fork/exec … no such file or
directory``).
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
    """The engine's own view of the host's files, beside ours."""

    engine: str
    """How messages name it."""
    process: EngineProcess | None
    host: HostRoot
    installer: PayloadInstaller


def unexecutable(view: EngineView, binaries: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Say of each binary that can't be executed why, one line each; empty where all can be.

    ``binaries`` are pairs of who needs it and its path on the host, or a name that the engine looks
    up in its PATH. What may not be looked at is no shortcoming; where the engine's own view is not
    known, our files are looked at as the host has them, and no others.
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
        return None  # where the engine has its own programs is not known
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
    """Tell whether a file holds what was installed; its content is read where its stamp differs."""
    if file.stamp is not None and stamp(seen) == file.stamp:
        return True
    if file.stamp is None and seen.samefile(here):
        return True  # staged a moment ago, and every byte of it checked
    return sha256_of(seen) == file.sha256
