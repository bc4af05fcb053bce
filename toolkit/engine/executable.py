"""Whether an engine can execute a program: looked at through the engine's own root and mounts.

An engine in a mount namespace of its own (systemd's ``PrivateMounts``, ``ProtectSystem``) may see
something else at a path than the host does; ``/proc/PID/root`` leads into that namespace.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from io import FileIO

from toolkit.errors import HostPathError
from toolkit.host.paths import HostRoot
from toolkit.host.regular import open_regular

_NESTING = 5
"""A script's interpreter may be a script itself: the kernel follows so many (fs/exec.c)."""
_HEAD_BYTES = 256
"""What the kernel reads of a program to tell its kind (BINPRM_BUF_SIZE)."""
_LOADER = 3
"""PT_INTERP of elf(5)."""
_LOADER_BYTES = 4096


def root_of(directory: str, host: HostRoot) -> HostRoot | None:
    """Return the file system as an engine sees it whose root directory is seen here.

    The host's where the directory is not known (empty) or another than the host's root, whose paths
    would mean something else; None where the engine is gone, or may not be looked at.
    """
    if not directory:
        return host
    try:
        seen = os.stat(directory)
        same = host.root == "/" or os.path.samestat(seen, os.stat(host.root))
    except OSError:
        return None
    return HostRoot(root=directory, proc=host.proc) if same else host


def obstacle(root: HostRoot, binary: str, search_path: tuple[str, ...] = ()) -> str | None:
    """Say why a binary can't be executed below a root; None: it can, or that is not known.

    A bare name is looked up in ``search_path``, the engine's own; one that can't be read is empty.
    """
    if binary.startswith("/"):
        return _chain_obstacle(root, binary)
    paths = [f"{directory}/{binary}" for directory in search_path]
    if not paths or any(_chain_obstacle(root, each) is None for each in paths):
        return None
    return f"{binary} is in no directory of the engine's PATH ({':'.join(search_path)})"


def chain(root: HostRoot, program: str) -> tuple[str, ...]:
    """Return a program and what the kernel starts for it: the interpreters of a script or ELF file.

    One that is named and not there is the last.
    """
    found = [program]
    while len(found) <= _NESTING:
        try:
            named = _interpreter(root.access(found[-1]))
        except (OSError, HostPathError):
            break
        if named is None:
            break
        found.append(named)
    return tuple(found)


def _chain_obstacle(root: HostRoot, program: str) -> str | None:
    whose = ""
    for path in chain(root, program):
        lack = _lack(root, path)
        if lack is not None:
            return f"{path}{whose} {lack}"
        whose = f", the interpreter of {path},"
    return None


def _lack(root: HostRoot, path: str) -> str | None:
    """Say what a file lacks for being executed, whatever is in it."""
    try:
        access = root.access(path)
        status, mounted = os.stat(access), os.statvfs(access)
    except (OSError, HostPathError) as error:
        gone = isinstance(error, FileNotFoundError | NotADirectoryError)
        return "is not there" if gone else f"can't be reached ({error})"
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if not status.st_mode & 0o111:
        return f"is not executable (mode {stat.S_IMODE(status.st_mode):04o})"
    if mounted.f_flag & os.ST_NOEXEC:
        return "is on a file system that is mounted noexec"
    return None


def _interpreter(access: str) -> str | None:
    """Return the path that a script's first line or an ELF file names; None where neither does."""
    with open_regular(access) as file:
        head = file.read(_HEAD_BYTES)
        if head.startswith(b"#!"):
            # A carriage return belongs to the name, for the kernel, which then finds no such file.
            found = re.split(rb"[ \t\n\0]", head[2:].lstrip(b" \t"), maxsplit=1)[0]
        elif head.startswith(b"\x7fELF"):
            found = _loader(file, head)
        else:
            return None
    # The kernel looks a relative one up in the working directory, which is another each time.
    return os.fsdecode(found) if found.startswith(b"/") else None


def _loader(file: FileIO, head: bytes) -> bytes:
    """Return what an ELF file's program header names as its loader; empty for a static one."""
    order = "<" if head[5:6] == b"\1" else ">"
    wide = head[4:5] == b"\2"  # ELFCLASS64
    try:
        (table,) = struct.unpack_from(order + ("Q" if wide else "I"), head, 32 if wide else 28)
        size, count = struct.unpack_from(order + "HH", head, 54 if wide else 42)
        for number in range(count):
            entry = os.pread(file.fileno(), size, table + number * size)
            (kind,) = struct.unpack_from(order + "I", entry)
            if kind == _LOADER:
                at, length = _place(order, entry, wide=wide)
                name = os.pread(file.fileno(), min(length, _LOADER_BYTES), at)
                return name.partition(b"\0")[0]
    except (struct.error, OverflowError, OSError):
        return b""  # damaged: its digest tells
    return b""


def _place(order: str, entry: bytes, *, wide: bool) -> tuple[int, int]:
    """Return offset and length of what a program header is about."""
    if wide:
        (at,), (length,) = (struct.unpack_from(order + "Q", entry, each) for each in (8, 32))
    else:
        (at,), (length,) = (struct.unpack_from(order + "I", entry, each) for each in (4, 16))
    return at, length
