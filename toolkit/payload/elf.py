"""Read from an ELF file the machine and the glibc version that it was built for."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from msgspec import Struct

from toolkit.host.regular import open_regular

MACHINES = {62: "x86_64", 183: "aarch64"}
"""``e_machine`` to the kernel's name (elf.h): what the toolkit is built for, and tested on."""
_LITTLE_64 = b"\2\1"
"""ELFCLASS64 and ELFDATA2LSB, the format of both machines."""

_VERNEED = 0x6FFFFFFE
_VERDEF = 0x6FFFFFFD
_GLIBC = "GLIBC_"
_TABLE_LIMIT = 4096
"""Maximum number of version table entries to read; glibc defines about fifty."""


class ElfFacts(Struct, frozen=True, kw_only=True):
    """What one file needs and defines."""

    machine: str
    needs_glibc: tuple[int, ...] | None
    """The newest glibc symbol version that it needs; None for a static file."""
    defines_glibc: tuple[int, ...] | None
    """The newest version that it defines, for glibc's own libc.so.6."""


class _Section(Struct, frozen=True):
    kind: int
    offset: int
    size: int
    link: int


def read_elf(path: Path) -> ElfFacts | None:
    """Return the facts of a file; None for one that is not ELF (a script). Raises OSError."""
    with open_regular(path) as file:
        if file.read(4) != b"\x7fELF":
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                return _facts(content)
            except (struct.error, IndexError):
                return None


def _facts(content: mmap.mmap) -> ElfFacts:
    (machine,) = struct.unpack_from("<H", content, 18)
    sections = _sections(content) if content[4:6] == _LITTLE_64 else []
    needs = [
        version
        for section in sections
        if section.kind == _VERNEED
        for version in _needed(content, section, sections[section.link])
    ]
    defines = [
        version
        for section in sections
        if section.kind == _VERDEF
        for version in _defined(content, section, sections[section.link])
    ]
    return ElfFacts(
        machine=MACHINES.get(machine, f"machine {machine}"),
        needs_glibc=max(needs, default=None),
        defines_glibc=max(defines, default=None),
    )


def _sections(content: mmap.mmap) -> list[_Section]:
    (start,) = struct.unpack_from("<Q", content, 0x28)
    size, count = struct.unpack_from("<HH", content, 0x3A)
    found = []
    for index in range(count if start else 0):
        at = start + index * size
        _, kind, _, _, offset, length, link = struct.unpack_from("<IIQQQQI", content, at)
        found.append(_Section(kind, offset, length, link))
    return found


def _needed(content: mmap.mmap, section: _Section, strings: _Section) -> list[tuple[int, ...]]:
    """Walk the needed libraries and their versions (Elf64_Verneed)."""
    found = []
    at = section.offset
    for _ in range(_TABLE_LIMIT):
        _, count, _, first, following = struct.unpack_from("<HHIII", content, at)
        one = at + first
        for _ in range(count):
            _, _, _, name, after = struct.unpack_from("<IHHII", content, one)
            found.append(_version(content, strings.offset + name))
            one += after
        if not following:
            break
        at += following
    return [version for version in found if version]


def _defined(content: mmap.mmap, section: _Section, strings: _Section) -> list[tuple[int, ...]]:
    """Walk the versions that a library defines (Elf64_Verdef, Elf64_Verdaux)."""
    found = []
    at = section.offset
    for _ in range(_TABLE_LIMIT):
        _, _, _, _, _, first, following = struct.unpack_from("<HHHHIII", content, at)
        (name,) = struct.unpack_from("<I", content, at + first)
        found.append(_version(content, strings.offset + name))
        if not following:
            break
        at += following
    return [version for version in found if version]


def _version(content: mmap.mmap, at: int) -> tuple[int, ...]:
    """Return the numbers of ``GLIBC_2.34``; empty for a name of another library."""
    name = content[at : content.find(b"\0", at)].decode("ascii", "replace")
    numbers = name.removeprefix(_GLIBC).split(".")
    if not name.startswith(_GLIBC) or not all(part.isdigit() for part in numbers):
        return ()
    return tuple(int(part) for part in numbers)
