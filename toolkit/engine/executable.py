"""Whether an engine can execute a program, seen through the engine's own root and mounts.

An engine in its own mount namespace (systemd's ``PrivateMounts``, ``ProtectSystem``) may see a
different file at a path than the host; ``/proc/PID/root`` leads into that namespace.
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
"""Levels of script interpreters that the kernel follows (fs/exec.c)."""
_HEAD_BYTES = 256
"""Bytes of a program that the kernel reads to detect its format (BINPRM_BUF_SIZE)."""
_LOADER = 3
"""PT_INTERP of elf(5)."""
_LOADER_BYTES = 4096
_LAYOUT_64 = ("Q", 32, 54, 8, 32)
_LAYOUT_32 = ("I", 28, 42, 4, 16)
"""The word of an ELF class, and the offsets of e_phoff and e_phentsize in the file's header, and of
p_offset and p_filesz in a program header (elf(5))."""


def root_of(directory: str, host: HostRoot) -> HostRoot | None:
    """Return the file system of an engine whose root directory is visible here.

    Returns the host's if the directory is not known (empty) or is not the host's root, because its
    paths would mean something else. None if the engine is gone or may not be read.
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
    """Return why a binary cannot be executed below a root; None if it can, or if that is not known.

    A bare name is looked up in ``search_path``, the engine's PATH, empty if it cannot be read.
    """
    if binary.startswith("/"):
        return _chain_obstacle(root, binary)
    paths = [f"{directory}/{binary}" for directory in search_path]
    if not paths or any(_chain_obstacle(root, each) is None for each in paths):
        return None
    return f"{binary} is in no directory of the engine's PATH ({':'.join(search_path)})"


def chain(root: HostRoot, program: str) -> tuple[str, ...]:
    """Return a program and the interpreters that the kernel starts for it (script or ELF file).

    A missing one comes last.
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
        lack = _why_not_executable(root, path)
        if lack is not None:
            return f"{path}{whose} {lack}"
        whose = f", the interpreter of {path},"
    return None


def _why_not_executable(root: HostRoot, path: str) -> str | None:
    """Return why a file cannot be executed, whatever its content."""
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
    """Return the interpreter named by a script's first line or an ELF file, or None."""
    with open_regular(access) as file:
        head = file.read(_HEAD_BYTES)
        if head.startswith(b"#!"):
            # The kernel takes a carriage return as part of the name, and finds no such file.
            found = re.split(rb"[ \t\n\0]", head[2:].lstrip(b" \t"), maxsplit=1)[0]
        elif head.startswith(b"\x7fELF"):
            found = _loader(file, head)
        else:
            return None
    # The kernel looks up a relative path in the working directory, which varies.
    return os.fsdecode(found) if found.startswith(b"/") else None


def _loader(file: FileIO, head: bytes) -> bytes:
    """Return the loader named in an ELF file's program header; empty for a static one."""
    order = "<" if head[5:6] == b"\1" else ">"
    layout = _LAYOUT_64 if head[4:5] == b"\2" else _LAYOUT_32
    word, table_at, sizes_at, place_at, length_at = layout
    try:
        (table,) = struct.unpack_from(order + word, head, table_at)
        size, count = struct.unpack_from(order + "HH", head, sizes_at)
        for number in range(count):
            entry = os.pread(file.fileno(), size, table + number * size)
            (kind,) = struct.unpack_from(order + "I", entry)
            if kind == _LOADER:
                (place,) = struct.unpack_from(order + word, entry, place_at)
                (length,) = struct.unpack_from(order + word, entry, length_at)
                name = os.pread(file.fileno(), min(length, _LOADER_BYTES), place)
                return name.partition(b"\0")[0]
    except (struct.error, OverflowError, OSError):
        return b""  # damaged: the digest check reports it
    return b""
