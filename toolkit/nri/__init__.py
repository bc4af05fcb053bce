"""NRI mode: GPU devices by a plugin of the engine, without touching the engine's config."""

from __future__ import annotations

from toolkit.nri.plugin import NriState, NriStatus, Plugin
from toolkit.settings import Settings

__all__ = ["NriState", "NriStatus", "Plugin", "run"]


def run(settings: Settings) -> None:
    """Serve as the engine's NRI plugin until a termination signal is taken."""
    plugin = Plugin(settings.nri, cdi_kind=settings.cdi.kind, socket_path=settings.nri.socket)
    plugin.serve_until_signal()
