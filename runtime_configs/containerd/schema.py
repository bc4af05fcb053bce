"""The key paths of containerd's CRI settings by config version, and which engine reads them."""

from __future__ import annotations

from enum import Enum
from typing import Final

from runtime_configs.adapter import ConfigRequest
from runtime_configs.formats.values import KeyPath
from runtime_configs.model import Version
from runtime_configs.shims import RUNC_V2

PLUGIN_V1: Final = "cri"
PLUGIN_V2: Final = "io.containerd.grpc.v1.cri"
PLUGIN_V3: Final = "io.containerd.cri.v1.runtime"
IMAGES: Final = "io.containerd.cri.v1.images"
CRI_PLUGINS: Final = (PLUGIN_V1, PLUGIN_V2, PLUGIN_V3, IMAGES)
"""With one of these in ``disabled_plugins`` no pod is ever served."""

MERGING_SINCE: Final = 2
"""The major version of containerd that merges tables."""
VERSION_2: Final = 2
NEWEST: Final = 3
"""The version with the key paths in use since 2.0; later ones have the same."""

RUNC: Final = "runc"
NVIDIA_BINARY: Final = "nvidia-container-runtime"
CDI_SINCE: Final = (1, 7, 0)
"""The first version with ``enable_cdi``, false by default; 1.6 ignores it."""
CDI_BY_DEFAULT: Final = (2, 0, 0)
"""The first version with a default of true (``plugins/cri/config``; tests/engine shows it)."""


class Era(Enum):
    """How an engine puts its files together.

    (``services/server/config`` in 1.x, ``cmd/containerd/server/config`` in 2.x.)
    """

    REPLACES = "replaces"
    """1.x: an imported file's plugin table replaces the earlier one as a whole.

    Also for an unknown version, as what is right here is right for every engine.
    """
    MERGES = "merges"
    """2.0 to 2.2: tables are merged as spelled, in the version of the last file."""
    MIGRATES = "migrates"
    """2.3 and later: each file is migrated to the newest version, then merged."""


def era(version: Version | None) -> Era:
    """Return how an engine of this version reads its files."""
    if version is None or version.major < MERGING_SINCE:
        return Era.REPLACES
    return Era.MERGES if version.numbers < (2, 3, 0) else Era.MIGRATES


def era_of(request: ConfigRequest) -> Era:
    """Return how the engine of a request reads its files.

    If its version is unknown, by its dump, which has the newest config version that it supports.
    """
    reported = None if request.effective is None else request.effective.raw.get("version")
    if request.version is not None or not isinstance(reported, int):
        return era(request.version)
    if reported <= VERSION_2:
        return Era.REPLACES
    return Era.MERGES if reported == NEWEST else Era.MIGRATES


def plugin(config_version: int) -> str:
    """Return the name of the plugin table with the handlers."""
    if config_version <= 1:
        return PLUGIN_V1
    return PLUGIN_V2 if config_version == VERSION_2 else PLUGIN_V3


def cri(config_version: int, *below: str) -> KeyPath:
    """Return the path of the CRI plugin's table, or of a key in it."""
    return ("plugins", plugin(config_version), *below)


def runtimes(config_version: int) -> KeyPath:
    """Return the path of the table of handlers."""
    return cri(config_version, "containerd", "runtimes")


def default_name(config_version: int) -> KeyPath:
    """Return the path of the default handler's name."""
    return cri(config_version, "containerd", "default_runtime_name")


def built_in_runc(version: Version | None) -> dict[str, object]:
    """Return the built-in handler of 1.x without any in a file, as ``config default`` prints it.

    For an unknown version without the options, which would be a change for 2.x.
    """
    table: dict[str, object] = {"runtime_type": RUNC_V2}
    if version is None or version.numbers >= (1, 7, 0):
        table["sandbox_mode"] = "podsandbox"
    if version is None:
        return table
    table["options"] = {
        "BinaryName": "",
        "CriuImagePath": "",
        "CriuPath": "",
        "CriuWorkPath": "",
        "IoGid": 0,
        "IoUid": 0,
        "NoNewKeyring": False,
        "NoPivotRoot": False,
        "Root": "",
        "ShimCgroup": "",
        "SystemdCgroup": False,
    }
    return table
