"""What stays after a revert until the engine has deleted the container that the installer ran in.

That container, and its pod's sandbox, may have been made while our handler was the default one. The
engine stops and deletes them by the path of our wrapper, after the process that reverts has ended:
without it they would stay for good (tried with containerd 1.6 and 2.1, tests/engine/
test_own_container_goes.py). So a script stands in the wrapper's place until then.
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
"""Begins the name of the file that stands for a container which is not deleted yet."""
_CODE = 2
"""Lines of comment at a script's beginning."""


class Parting(Struct, frozen=True, kw_only=True):
    """What is left in the toolkit directory."""

    directory: str = ""
    """On the host."""
    scripts: Mapping[str, bytes] = {}
    """By name."""
    containers: tuple[str, ...] = ()
    """The identifiers of those that it waits for; empty: nothing is left."""


def prepare(
    writer: FileWriter, directory: str, own: Sequence[OwnContainer], made: Iterable[str]
) -> Parting:
    """Return what has to be left; asked while the payload is still there.

    ``made`` are the directories that go with the last of it, where they are empty.
    """
    if not own:
        return Parting()
    names = dict.fromkeys(posixpath.basename(each.binary) for each in own)
    wrappers = (writer.read(posixpath.join(directory, name)) for name in names)
    found = (engine_runtime_of(each.content) for each in wrappers if each is not None)
    # A name alone is looked up in the engine's own PATH.
    runtime = next((each for each in found if each is not None), USUAL[0])
    innermost_first = sorted(set(made), key=len, reverse=True)
    script = parting_script(directory, names, runtime, innermost_first)
    return Parting(
        directory=directory,
        scripts=dict.fromkeys(names, script),
        containers=tuple(each.identifier for each in own),
    )


def leave(writer: FileWriter, parting: Parting) -> None:
    """Put it in the place of the payload that was removed. Raises HostPathError."""
    if not parting.containers:
        return
    writer.make_directories(parting.directory)
    for container in parting.containers:
        path = posixpath.join(parting.directory, f"{_WAITS}{container}")
        writer.write(path, b"", FileMetadata(mode=0o600))
    for name, script in parting.scripts.items():
        writer.write(posixpath.join(parting.directory, name), script, FileMetadata(mode=0o755))


def directories_left(writer: FileWriter, directory: str) -> tuple[str, ...]:
    """Return the directories that an earlier install made and left to a script, outermost first."""
    for name in RUNTIMES:
        text = _script(writer, posixpath.join(directory, name))
        if _WAITS.encode() in text:
            lines = map(shlex.split, text.decode().splitlines()[_CODE:])
            return tuple(words[1] for words in lines if words[:1] == ["rmdir"])[:0:-1]
    return ()


def _script(writer: FileWriter, path: str) -> bytes:
    """Return a file's bytes; none for what is not a regular file, such as somebody's FIFO."""
    try:
        state = writer.read(path)
    except HostPathError:
        return b""
    return b"" if state is None else state.content


def parting_script(
    directory: str, names: Iterable[str], engine_runtime: str, made: Sequence[str]
) -> bytes:
    """Return the script: the low-level runtime, and after its last ``delete`` the end of itself.

    ``made``, innermost first, go where they are empty then. It removes by relative names in the
    directory that still has its own files: another payload may take the place at any moment.
    """
    here = shlex.quote(directory)
    lines = (
        "#!/bin/sh",
        f"{MARK}, which is gone; goes with the container that the installer ran in.",
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
