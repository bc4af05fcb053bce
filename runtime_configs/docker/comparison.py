"""dockerd's settings compared: before and after our change, in force and in its file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from runtime_configs.adapter import ConfigRequest
from runtime_configs.formats.comparison import CHANGED, NOT_IN_FORCE, differing
from runtime_configs.model import EffectiveConfig

SETTINGS: Final = (
    "Runtimes", "DefaultRuntime", "CDISpecDirs", "LiveRestoreEnabled", "Driver", "LoggingDriver",
    "CgroupDriver", "DockerRootDir", "RegistryConfig", "DefaultAddressPools", "Labels",
    "SecurityOptions", "InitBinary", "Debug", "ExperimentalBuild",
)  # fmt: skip
"""Members of ``/info`` that follow from the configuration; the others vary."""
RELOADED: Final = {
    "debug": "Debug",
    "labels": "Labels",
    "live-restore": "LiveRestoreEnabled",
}
"""Keys that a live reload applies, with their members of ``/info``."""


def unintended(
    before: EffectiveConfig, after: EffectiveConfig, request: ConfigRequest
) -> tuple[str, ...]:
    """Describe changed settings of ``/info``; counters and states are ignored."""
    names = [handler.name for handler in request.desired.handlers]
    intended = [(key, name) for key in ("Runtimes", "runtimes") for name in names]
    meant = [
        *intended,
        *([("DefaultRuntime",), ("default-runtime",)] if request.desired.default else []),
        *([("CDISpecDirs",), ("features", "cdi")] if request.desired.enable_cdi else []),
    ]
    return differing(_settings(before.raw), _settings(after.raw), meant, CHANGED)


def pending(
    live: EffectiveConfig, files: EffectiveConfig, request: ConfigRequest
) -> tuple[str, ...]:
    """Describe each setting of ``daemon.json`` that a live reload would apply.

    (``Reload`` in moby's ``daemon/reload.go``: only these apply without a restart and appear in
    ``/info``.)
    """
    ours = {each.name for each in request.desired.handlers}
    there = {
        name: {"path": each.binary_path}
        for name, each in live.handlers.items()
        if name in files.handlers and name not in ours
    }
    wanted = {
        name: {"path": each.binary_path}
        for name, each in files.handlers.items()
        if name not in ours and each.binary_path is not None
    }
    old: dict[str, object] = {"runtimes": there}
    new: dict[str, object] = {"runtimes": wanted}
    if files.default is not None and live.default not in ours:
        old["default-runtime"], new["default-runtime"] = live.default, files.default
    for key, member in RELOADED.items():
        if key in files.raw and member in live.raw:
            old[key], new[key] = live.raw[member], files.raw[key]
    return differing(old, new, (), NOT_IN_FORCE)


def _settings(raw: Mapping[str, object]) -> Mapping[str, object]:
    if "Runtimes" not in raw and "DefaultRuntime" not in raw:
        return raw
    return {key: raw[key] for key in SETTINGS if key in raw}
