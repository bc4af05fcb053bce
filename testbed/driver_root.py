"""A made NVIDIA driver: a driver root with libraries and device nodes, and what the kernel shows.

The libraries are empty files with the names of the real ones, the nodes are real device nodes
behind which there is no driver. ``/proc/driver`` is a directory of the test in the mount namespace
of whatever ``prefix`` starts.
"""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

LIBRARIES = ("libcuda", "libnvidia-ml", "libnvidia-ptxjitcompiler", "libnvidia-allocator")
MAJOR = 195
CAPS_MAJOR = 239
_UNDER = 'mount --bind "$1" /proc/driver && shift && exec "$@"'


@dataclass(frozen=True, slots=True)
class DriverRoot:
    """One below ``directory``; its kernel side is in ``proc``."""

    directory: Path
    proc: Path

    @classmethod
    def made(cls, base: Path, version: str = "535.104.05", gpus: int = 1) -> DriverRoot:
        """Make a driver that is loaded, with so many GPUs."""
        driver = cls(base / "driver", base / "proc-driver")
        driver.libraries.mkdir(parents=True)
        (driver.dev / "nvidia-caps").mkdir(parents=True)
        driver.proc.mkdir()
        driver.node("nvidiactl", 255)
        for number in range(gpus):
            driver.node(f"nvidia{number}", number)
        driver.install(version)
        driver.load(version)
        return driver

    @property
    def prefix(self) -> tuple[str, ...]:
        """Runs what follows where /proc/driver is this driver's; needs root."""
        namespace = ("unshare", "--mount", "--propagation=private")
        return (*namespace, "/bin/sh", "-c", _UNDER, "with-driver", str(self.proc))

    @property
    def libraries(self) -> Path:
        """Where the libraries are."""
        return self.directory / "usr/lib64"

    @property
    def dev(self) -> Path:
        """Where the device nodes are."""
        return self.directory / "dev"

    def variables(self) -> dict[str, str]:
        """Return what tells the installer of it."""
        return {
            "NVIDIA_DRIVER_ROOT": str(self.directory),
            "DRIVER_ROOT_CTR_PATH": str(self.directory),
        }

    def install(self, version: str) -> None:
        """Put the libraries of a version in the place of the last one's, one after the other."""
        for library in LIBRARIES:
            self.exchange(library, version)

    def exchange(self, library: str, version: str) -> None:
        """Exchange one library, as package managers do: the file, the link, the old file."""
        link = self.libraries / f"{library}.so.1"
        new = self.libraries / f"{library}.so.{version}"
        old = self.libraries / os.readlink(link) if link.is_symlink() else None
        new.touch()
        beside = link.with_suffix(".new")
        beside.symlink_to(new.name)
        beside.replace(link)
        if old is not None and old != new:
            old.unlink()

    def load(self, version: str) -> None:
        """Let the kernel module be loaded."""
        (self.proc / "nvidia/capabilities").mkdir(parents=True, exist_ok=True)
        (self.proc / "nvidia/version").write_text(
            f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}\n"
        )

    def unload(self) -> None:
        """Let it go; the device nodes stay, as they do."""
        shutil.rmtree(self.proc / "nvidia", ignore_errors=True)

    def node(self, name: str, minor: int, major: int = MAJOR) -> None:
        """Make a device node, or one with another number in its place."""
        path = self.dev / name
        path.unlink(missing_ok=True)
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(major, minor))

    def remove_node(self, name: str) -> None:
        """Remove a device node that may be gone."""
        (self.dev / name).unlink(missing_ok=True)

    def mig(self, *, on: bool) -> None:
        """Let the first GPU have two instances, or none."""
        for number in (1, 2):
            instance = self.proc / f"nvidia/capabilities/gpu0/mig/gi{number}"
            name = f"nvidia-caps/nvidia-cap{number}"
            if on:
                instance.mkdir(parents=True, exist_ok=True)
                self.node(name, number, CAPS_MAJOR)
            else:
                shutil.rmtree(instance, ignore_errors=True)
                self.remove_node(name)
