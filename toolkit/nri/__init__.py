"""NRI mode: an engine plugin injects GPU devices; the engine's config is not changed."""

from __future__ import annotations

from toolkit.nri.plugin import NriState, NriStatus, Plugin

__all__ = ["NriState", "NriStatus", "Plugin"]
