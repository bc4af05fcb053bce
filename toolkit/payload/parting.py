"""A script that stays after a revert until the engine has deleted the installer's own container.

That container, and its pod's sandbox, may have been created while our handler was the default. The
engine stops and deletes them through our wrapper's path, after the reverting process has exited.
Without a program there they would never be deleted (tried with containerd 1.6 and 2.1,
tests/engine/test_own_container_goes.py). So a script takes the wrapper's place until then.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from toolkit.engine.facts import OwnContainer
from toolkit.errors import HostPathError
from toolkit.host.writer import FileMetadata, FileWriter
from toolkit.payload.low_level import USUAL
from toolkit.payload.source import RUNTIMES
from toolkit.payload.wrappers import MARK, engine_runtime_of

_WAITS = ".waits-for-"
"""Prefix of the marker file for a container that is not deleted yet."""
_CODE = 2
"""Comment lines at the start of a script."""


class Parting(Struct, frozen=True, kw_only=True):
    """What stays in the toolkit directory."""

    directory: str = ""
    """On the host."""
    scripts: Mapping[str, bytes] = {}
    """By name."""
    containers: tuple[str, ...] = ()
    """IDs of the containers that the script waits for; empty if nothing stays."""


def prepare(
    writer: FileWriter, directory: str, own: Sequence[OwnContainer], made: Iterable[str]
) -> Parting:
    """Return what must stay; call it while the payload is still installed.

    ``made`` are the directories to remove at the end, if empty.
    """
    if not own:
        return Parting()
    names = dict.fromkeys(posixpath.basename(each.binary) for each in own)
    wrappers = (writer.read(posixpath.join(directory, name)) for name in names)
    found = (engine_runtime_of(each.content) for each in wrappers if each is not None)
    # A bare name is looked up in the engine's own PATH.
    runtime = next((each for each in found if each is not None), USUAL[0])
    innermost_first = sorted(set(made), key=len, reverse=True)
    script = parting_script(directory, names, runtime, innermost_first)
    return Parting(
        directory=directory,
        scripts=dict.fromkeys(names, script),
        containers=tuple(each.identifier for each in own),
    )


def leave(writer: FileWriter, parting: Parting) -> None:
    """Write the scripts in place of the removed payload. Raises HostPathError."""
    if not parting.containers:
        return
    writer.make_directories(parting.directory)
    for container in parting.containers:
        path = posixpath.join(parting.directory, f"{_WAITS}{container}")
        writer.write(path, b"", FileMetadata(mode=0o600))
    for name, script in parting.scripts.items():
        writer.write(posixpath.join(parting.directory, name), script, FileMetadata(mode=0o755))


def directories_left(writer: FileWriter, directory: str) -> tuple[str, ...]:
    """Return the directories that an earlier install left to a script, outermost first."""
    for name in RUNTIMES:
        text = _script(writer, posixpath.join(directory, name))
        if _WAITS.encode() in text:
            lines = map(shlex.split, text.decode().splitlines()[_CODE:])
            return tuple(words[1] for words in lines if words[:1] == ["rmdir"])[:0:-1]
    return ()


def _script(writer: FileWriter, path: str) -> bytes:
    """Return a file's bytes; empty for anything but a regular file, such as a FIFO."""
    try:
        state = writer.read(path)
    except HostPathError:
        return b""
    return b"" if state is None else state.content


def parting_script(
    directory: str, names: Iterable[str], engine_runtime: str, made: Sequence[str]
) -> bytes:
    """Return a script that runs the low-level runtime, and removes itself at the last ``delete``.

    It then removes ``made``, innermost first, if empty. It removes files by relative names in the
    directory that it entered, because another payload may take the path at any moment.
    """
    here = shlex.quote(directory)
    lines = (
        "#!/bin/sh",
        f"{MARK}, which is gone; removed with the container that the installer ran in.",
        f'{shlex.quote(engine_runtime)} "$@"',
        "status=$?",
        'case " $* " in *" delete "*) ;; *) exit $status ;; esac',
        "for container; do :; done",
        f'cd {here} 2>/dev/null && [ -e {_WAITS}"$container" ] || exit $status',
        "PATH=$PATH:/usr/bin:/bin",
        f'rm -f {_WAITS}"$container"',
        f'for each in {_WAITS}*; do [ -e "$each" ] && exit $status; done',
        f"rm -f {shlex.join(names)}",
        "cd /",
        *(f"rmdir {shlex.quote(path)} 2>/dev/null" for path in (directory, *made)),
        "exit $status",
    )
    return "\n".join((*lines, "")).encode()
