"""Read from an ELF file the machine and the glibc version that it was built for."""

from __future__ import annotations

import mmap
import re
import struct
from pathlib import Path

from msgspec import Struct

from toolkit.host.regular import open_regular

MACHINES = {62: "x86_64", 183: "aarch64"}
"""``e_machine`` to the kernel's name (elf.h): what the toolkit is built for, and tested on."""
_LITTLE_64 = b"\2\1"
"""ELFCLASS64 and ELFDATA2LSB, the format of both machines."""
_VERSIONS = (0x6FFFFFFE, 0x6FFFFFFD)
"""SHT_GNU_verneed and SHT_GNU_verdef; each links to the string table with its names."""
_GLIBC = re.compile(rb"\0GLIBC_(\d+(?:\.\d+)*)(?=\0)")


class ElfFacts(Struct, frozen=True, kw_only=True):
    """The machine and the glibc of one file."""

    machine: str
    glibc: tuple[int, ...] | None
    """The newest glibc symbol version that it needs or, as glibc's own libc.so.6, defines.

    None for a static file.
    """


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
            except (struct.error, IndexError, OverflowError):
                return None


def _facts(content: mmap.mmap) -> ElfFacts:
    (machine,) = struct.unpack_from("<H", content, 18)
    sections = _sections(content) if content[4:6] == _LITTLE_64 else []
    tables = [sections[each.link] for each in sections if each.kind in _VERSIONS]
    versions = [
        tuple(int(number) for number in version.split(b"."))
        for table in tables
        for version in _GLIBC.findall(content, table.offset, table.offset + table.size)
    ]
    return ElfFacts(
        machine=MACHINES.get(machine, f"machine {machine}"), glibc=max(versions, default=None)
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
