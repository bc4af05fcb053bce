"""NRI mode: GPU devices by a plugin of the engine, without touching the engine's config."""

from __future__ import annotations

from toolkit.nri.plugin import NriState, NriStatus, Plugin

__all__ = ["NriState", "NriStatus", "Plugin"]
