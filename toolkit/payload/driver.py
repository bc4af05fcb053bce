"""The NVIDIA driver as this process sees it: what of it is missing, and where its files are."""

from __future__ import annotations

import os
import posixpath
import stat
from pathlib import Path

from msgspec import Struct

from toolkit.errors import HostPathError
from toolkit.host.mounts import below
from toolkit.host.paths import HostRoot
from toolkit.settings import DriverSettings

_DEVICES = ("nvidiactl", "nvidia0", "dxg", "nvgpu", "nvhost-gpu")
_LIBRARIES = (
    "lib*/libcuda.so.*",
    "lib/*/libcuda.so.*",
    "usr/lib*/libcuda.so.*",
    "usr/lib/*/libcuda.so.*",
)


class Driver(Struct, frozen=True):
    """The driver that the settings name, installed on the host or in a container of its own."""

    settings: DriverSettings
    host: HostRoot

    @property
    def root(self) -> Path:
        """The driver root."""
        return self._seen(self.settings.root_in_container)

    @property
    def dev_root(self) -> Path:
        """The parent of the ``/dev`` with the driver's device nodes."""
        return self._seen(self.settings.dev_root_in_container)

    def missing(self) -> str | None:
        """Return what is missing; None where it is loaded and its files exist."""
        if not self.root.is_dir():
            return f"there is nothing at the driver root {self.settings.root}"
        loaded = any(Path(self.host.proc, "driver", name).exists() for name in ("nvidia", "nvgpu"))
        dev = self.dev_root / "dev"
        if not loaded and not any(self._is_served(dev / name) for name in _DEVICES):
            return f"no driver is loaded, and {dev} has no NVIDIA device"
        return None

    def has_libraries(self) -> bool:
        """Return whether its libraries exist.

        Kernel modules are loaded before a driver container exposes its files.
        """
        return any(next(self.root.glob(pattern), None) is not None for pattern in _LIBRARIES)

    def moves(self) -> tuple[tuple[str, str], ...]:
        """Return the roots here and on the host where they differ, as (from, to) pairs.

        Devices come first, if they are elsewhere.
        """
        moves = []
        if _plain(self.settings.dev_root) != _plain(self.settings.root):
            here, there = str(self.dev_root), self.settings.dev_root
            moves.append((device_directory(here), device_directory(there)))
        moves.append((str(self.root), self.settings.root))
        return tuple(each for each in moves if _plain(each[0]) != _plain(each[1]))

    def place(self, path: str) -> str:
        """Return where this process sees a host path, which may be one of the driver's."""
        given = path
        for there, here in (
            (self.settings.dev_root, self.settings.dev_root_in_container),
            (self.settings.root, self.settings.root_in_container),
        ):
            inside = below(path, there)
            if inside is not None and _plain(there) != "/":
                given = self.host.host_path(here) + inside
                break
        try:
            return self.host.access(given)
        except HostPathError:
            return given

    def _is_served(self, node: Path) -> bool:
        """Return whether a device node has a driver behind it: nodes outlive their driver."""
        try:
            state = node.stat()
            devices = Path(self.host.proc, "devices").read_text()
        except OSError:
            return node.exists()
        characters = devices.partition("Block devices:")[0]
        majors = {line.split()[0] for line in characters.splitlines() if line.strip()}
        return not stat.S_ISCHR(state.st_mode) or str(os.major(state.st_rdev)) in majors

    def _seen(self, given: str) -> Path:
        return Path(self.host.access(self.host.host_path(given)))


def device_directory(root: str) -> str:
    """Return the directory of the nodes below a root; the root may be ``/dev`` itself."""
    return posixpath.join(root.rstrip("/").removesuffix("/dev") or "/", "dev")


def _plain(path: str) -> str:
    return path.rstrip("/") or "/"
