"""The entries whose change requires a new CDI spec; the keeper follows them.

``nvidia-ctk cdi generate --mode=management`` looks for device nodes below /dev, for libraries with
the version of libcuda.so, for GSP firmware, sockets and programs (pkg/nvcdi/management.go and
driver-nvml.go of nvidia-container-toolkit 1.17 to 1.19).
"""

from __future__ import annotations

import os
from pathlib import Path

from toolkit.host.followed import DRIVER_ENTRIES, ENTRIES, TEXT

_LIBRARIES = (
    *("usr/lib64", "usr/lib", "usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu"),
    *("usr/lib/x86_64-linux-gnu/nvidia/current", "usr/lib/aarch64-linux-gnu/nvidia/current"),
)
_PROGRAMS = ("usr/bin", "bin")
_SOCKETS = ("run/nvidia-persistenced", "run/nvidia-fabricmanager")
_FIRMWARE = "lib/firmware/nvidia"
_MODULE = "/sys/module/nvidia"
_LIBRARY_GLOBS = ("lib*", "usr/lib*", "lib/*", "usr/lib/*")


def entries(driver: Path, dev: Path, *, proc: str) -> tuple[str, ...]:
    """Return the entries for a driver root and a /dev root, as this process sees both."""
    capabilities = f"{proc}/driver/nvidia/capabilities"
    return (
        f"{TEXT}{_MODULE}/version",
        f"{TEXT}{proc}/driver/nvidia/version",
        f"{ENTRIES}{proc}/driver",
        f"{ENTRIES}{proc}/driver/nvidia/gpus",
        f"{ENTRIES}{capabilities}",
        # One directory per GPU; a new GPU's directory is an entry of the one above.
        *(f"{ENTRIES}{capabilities}/{gpu}/mig" for gpu in _names(capabilities)),
        *device_entries(dev / "dev"),
        f"{DRIVER_ENTRIES}{driver}",
        *(f"{DRIVER_ENTRIES}{driver}/{each}" for each in _libraries(driver)),
        *(f"{DRIVER_ENTRIES}{driver}/{each}" for each in _PROGRAMS),
        *(f"{ENTRIES}{driver}/{each}" for each in (*_SOCKETS, _FIRMWARE)),
    )


def device_entries(directory: Path) -> tuple[str, ...]:
    """Return the entries for a directory with device nodes."""
    return (
        f"{DRIVER_ENTRIES}{directory}",
        f"{ENTRIES}{directory}/nvidia-caps",
        f"{ENTRIES}{directory}/nvidia-caps-imex-channels",
    )


def _libraries(driver: Path) -> tuple[str, ...]:
    """Return the usual library directories of a driver, and any other that contains libcuda."""
    found = dict.fromkeys(_LIBRARIES)
    for pattern in _LIBRARY_GLOBS:
        for each in sorted(driver.glob(f"{pattern}/libcuda.so*")):
            found[str(each.parent.relative_to(driver))] = None
    return tuple(found)


def _names(directory: str) -> list[str]:
    try:
        return sorted(each for each in os.listdir(directory) if each.startswith("gpu"))
    except OSError:
        return []
