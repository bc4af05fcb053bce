"""Find the payload: map the files of an unpacked deb or rpm to the files on the host."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from toolkit.errors import HostPathError, PayloadError
from toolkit.host.paths import HostRoot
from toolkit.settings import PackageType, PayloadSettings

RUNTIME = "nvidia-container-runtime"
"""NVIDIA's runtime; every program that wraps it has a name that begins with this one."""
MODES = {f"{RUNTIME}.cdi": "cdi", f"{RUNTIME}.legacy": "legacy"}
"""The same runtime with a fixed mode, whatever ``config.toml`` says.

(``WithModeOverride`` in ``internal/runtime`` of the toolkit 1.20.) NVIDIA builds both into a
package that it does not release (``scripts/release-packages.sh``), so a payload may lack them.
"""
RUNTIMES = (RUNTIME, *MODES)
"""The binaries that an engine's handlers name, in the order of the handlers' names."""
HOOK = f"{RUNTIME}-hook"
HOOK_LINK = "nvidia-container-toolkit"
"""The hook's older name; a link."""
CLI = "nvidia-container-cli"
CTK = "nvidia-ctk"
CDI_HOOK = "nvidia-cdi-hook"
WRAPPED = (*RUNTIMES, HOOK, CLI, CTK)
"""Each is installed as a wrapper with its binary beside it as ``.real``."""
PLAIN = (CDI_HOOK,)
LIBRARIES = ("libnvidia-container.so.1", "libnvidia-container-go.so.1")

_BINARY_DIRECTORIES = ("usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin", "bin", "sbin")
_LIBRARY_DIRECTORIES = (
    "usr/lib64",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "lib64",
    "lib/x86_64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "usr/lib",
)
_CONFIG = "etc/nvidia-container-runtime/config.toml"
_IMAGE_DIRECTORY = "/artifacts"


class SourceFile(Struct, frozen=True, kw_only=True):
    """One file of the payload, as this process sees it."""

    name: str
    """Its name in the list of files, such as ``nvidia-ctk`` or ``libnvidia-container.so.1``."""
    path: Path
    """Path of its bytes, links followed."""
    mode: int

    @property
    def real_name(self) -> str:
        """The name of the file with the bytes; for a library, with its full version."""
        return self.path.name


class PayloadSource(Struct, frozen=True, kw_only=True):
    """The whole payload, except for ``missing``."""

    root: Path
    files: tuple[SourceFile, ...]
    config: bytes | None
    """The ``config.toml`` that the package ships; None if it ships none."""
    missing: tuple[str, ...] = ()
    """The files left out under ``--ignore-errors``."""

    @property
    def substituted(self) -> tuple[str, ...]:
        """The runtimes with a fixed mode that are absent; the main one replaces them."""
        if self.file(RUNTIME) is None:
            return ()
        return tuple(name for name in MODES if self.file(name) is None)

    def file(self, name: str) -> SourceFile | None:
        """Return a file by its name in the list, or None if it is left out."""
        return next((each for each in self.files if each.name == name), None)


def find_payload(settings: PayloadSettings, root: HostRoot) -> PayloadSource:
    """Find every file of the payload.

    Raises PayloadError naming everything that is missing and where it was looked for.
    """
    source = _source_root(settings, root)
    if not source.is_dir():
        what = "is not a directory" if source.exists() else "does not exist"
        raise PayloadError(
            f"payload directory {source} {what}",
            "name the directory that the packages were unpacked in with --toolkit-source-root",
        )
    found: list[SourceFile] = []
    missing: list[str] = []
    wanted = [
        *((name, _BINARY_DIRECTORIES) for name in (*WRAPPED, *PLAIN)),
        *((name, _LIBRARY_DIRECTORIES) for name in LIBRARIES),
    ]
    inside = HostRoot(root=str(source))
    for name, directories in wanted:
        file = _find(inside, name, directories)
        if file is not None:
            found.append(file)
        elif name not in MODES:
            missing.append(f"{directories[0]}/{name}")
    if missing and not settings.ignore_errors:
        raise PayloadError(
            f"the payload in {source} is incomplete: {', '.join(missing)} missing or not readable",
            "unpack the packages nvidia-container-toolkit, nvidia-container-toolkit-base, "
            "libnvidia-container-tools and libnvidia-container1 there",
        )
    config = _inside(inside, _CONFIG)
    return PayloadSource(
        root=source,
        files=tuple(found),
        config=config.read_bytes() if config is not None and config.is_file() else None,
        missing=tuple(missing),
    )


def _source_root(settings: PayloadSettings, root: HostRoot) -> Path:
    """Return the payload's directory, in the image or else on the host.

    Of the image's two, the one of the host's package manager; deb if it has neither.
    """
    kind = settings.package_type
    if kind is PackageType.AUTO:
        has_rpm = Path(root.access("/usr/bin/rpm")).exists()
        kind = PackageType.RPM if has_rpm else PackageType.DEB
    given = settings.source_root or f"{_IMAGE_DIRECTORY}/{kind.value}"
    path = Path(given)
    if not path.is_absolute():
        raise PayloadError(f"payload directory {given} is relative", "give an absolute path")
    if not path.is_dir():
        on_host = Path(root.access(root.host_path(given)))
        if on_host.is_dir():
            return on_host
    return path


def _find(source: HostRoot, name: str, directories: Iterable[str]) -> SourceFile | None:
    for directory in directories:
        path = _inside(source, f"{directory}/{name}")
        if path is None:
            continue
        try:
            status = path.lstat()
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK):
            return SourceFile(name=name, path=path, mode=stat.S_IMODE(status.st_mode))
    return None


def _inside(source: HostRoot, name: str) -> Path | None:
    """Follow links as the package means them: the source root is its ``/``.

    None for a loop of links. Links cannot lead out of the root.
    """
    try:
        return Path(source.access(f"/{name}"))
    except HostPathError:
        return None
