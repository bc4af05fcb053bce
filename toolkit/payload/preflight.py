"""Check whether the payload fits this host. Each problem is one line; all are reported at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from toolkit.errors import HostPathError, PayloadError
from toolkit.host.paths import HostRoot
from toolkit.payload.elf import ElfFacts, read_elf
from toolkit.payload.source import PayloadSource

_OF_EVERY_HOST = ("/bin/sh", "/usr/bin/env", "/sbin/init", "/usr/bin/runc")
"""Any of them shows the host's architecture; the container's own may be emulated."""
_LIBC = (
    "/lib/{machine}-linux-gnu/libc.so.6",
    "/usr/lib/{machine}-linux-gnu/libc.so.6",
    "/lib64/libc.so.6",
    "/usr/lib64/libc.so.6",
    "/lib/libc.so.6",
    "/usr/lib/libc.so.6",
)
_SHELL = "/bin/sh"
_SPARE = 1 << 20
"""Bytes for directories and the journal's small files."""
_MIB = 1 << 20


class MisfitError(PayloadError):
    """The payload does not fit this host."""


def problems_of(
    source: PayloadSource, root: HostRoot, *, install_dir: str, size: int
) -> tuple[str, ...]:
    """Return the problems that prevent the installation; empty if none. ``size`` is in bytes."""
    return (*_binaries(source, root), *_shell(root), *_target(root, install_dir, size))


def _binaries(source: PayloadSource, root: HostRoot) -> Iterator[str]:
    host = _host_machine(root)
    facts = [(each, found) for each in source.files if (found := _elf(each.path)) is not None]
    for file, found in facts:
        if found.machine != host:
            yield (
                f"{file.path} is built for {found.machine}, the host is {host}: "
                "use the payload of that architecture"
            )
            return
    needs = [(found.glibc, each.path) for each, found in facts if found.glibc is not None]
    if not needs:
        return
    needed, path = max(needs)
    present = _host_glibc(root, host)
    if present is None:
        yield f"{path} needs glibc {_dotted(needed)}, the host has no glibc"
    elif needed > present:
        yield (
            f"{path} needs glibc {_dotted(needed)}, the host has {_dotted(present)}: "
            "use a payload that was built for an older distribution"
        )


def _shell(root: HostRoot) -> Iterator[str]:
    if not Path(root.access(_SHELL)).exists():
        yield f"the host has no {_SHELL}, which the wrappers need"


def _target(root: HostRoot, install_dir: str, size: int) -> Iterator[str]:
    existing = _nearest(root, install_dir)
    if not existing.is_dir():
        yield f"{install_dir} can't be created: {existing} is not a directory"
        return
    state = os.statvfs(existing)
    name = f"{install_dir} is on a file system that is"
    if state.f_flag & os.ST_RDONLY:
        yield f"{name} read-only: choose another with --toolkit-install-dir"
        return
    if state.f_flag & os.ST_NOEXEC:
        yield f"{name} mounted noexec: choose another with --toolkit-install-dir"
    free = state.f_bavail * state.f_frsize
    if free < size + _SPARE:
        yield (
            f"{install_dir} has {free / _MIB:.0f} MiB left, {(size + _SPARE) / _MIB:.0f} MiB "
            "are needed: make room or choose another with --toolkit-install-dir"
        )


def _nearest(root: HostRoot, path: str) -> Path:
    """Return the deepest existing part of a path, as this process sees it."""
    while path != "/":
        access = Path(root.access(path))
        if access.exists():
            return access
        path = os.path.dirname(path)
    return Path(root.access("/"))


def _host_machine(root: HostRoot) -> str:
    for path in _OF_EVERY_HOST:
        try:
            facts = _elf(Path(root.access(path)))
        except HostPathError:
            continue
        if facts is not None:
            return facts.machine
    return os.uname().machine


def _host_glibc(root: HostRoot, machine: str) -> tuple[int, ...] | None:
    for pattern in _LIBC:
        facts = _elf(Path(root.access(pattern.format(machine=machine))))
        if facts is not None and facts.glibc is not None:
            return facts.glibc
    return None


def _elf(path: Path) -> ElfFacts | None:
    try:
        return read_elf(path)
    except (OSError, ValueError):
        return None


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
