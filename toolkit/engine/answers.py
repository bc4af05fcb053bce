"""What a running engine said, before it is made into facts."""

from __future__ import annotations

from dataclasses import dataclass

from runtime_configs.model import EffectiveConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveAnswer:
    """What the running daemon said of itself."""

    version: str | None = None
    config: bytes | None = None
    """In the form that the engine's adapter decodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What is served at the moment, or why that can't be told yet."""

    config: EffectiveConfig | None
    listed: frozenset[str] | None = None
    """Handler names that the engine lists beside its config, where it does."""
    pending: str = ""
