"""Raw answers of a running engine."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from runtime_configs.model import EffectiveConfig


class LackKind(StrEnum):
    """Whether an engine that serves no handler may start to serve some without help."""

    PENDING = "pending"
    """It was not asked, is not running, or is still starting."""
    FAILED = "failed"
    """It runs but cannot serve; only a restart can fix it."""
    DISABLED = "disabled"
    """It runs, and its config disables the CRI."""


class Lack(Struct, frozen=True, kw_only=True):
    """Why an engine serves no handler now."""

    reason: str
    kind: LackKind = LackKind.PENDING
    fix: str = ""


class LiveAnswer(Struct, frozen=True, kw_only=True):
    """What the running daemon reports about itself."""

    version: str | None = None
    config: bytes | None = None
    """In the form that the engine's adapter decodes."""
    listed: frozenset[str] | None = None
    """Handler names that the engine lists besides its config, if it does."""
    lack: Lack | None = None
    """Why it serves nothing although it answered; its config may be known all the same."""


class Trial(Struct, frozen=True, kw_only=True):
    """The result of starting a sandbox (with Docker, a container) with one handler."""

    handler: str
    """Empty for the default handler, which is not named in the request."""
    binary: str | None = None
    """The low-level runtime that the engine executed; None if not reported."""
    failure: str = ""
    """Why the start failed."""
    untried: str = ""
    """Why no start was tried."""


class Served(Struct, frozen=True, kw_only=True):
    """What the engine reports as served, whatever its files say, or why it serves nothing."""

    config: EffectiveConfig | None = None
    listed: frozenset[str] | None = None
    """Handler names that the engine lists besides its config, if it does."""
    lack: Lack | None = None
    """Set if and only if ``config`` is None."""

    @classmethod
    def nothing(cls, reason: str, kind: LackKind = LackKind.PENDING, fix: str = "") -> Served:
        """Return the answer of an engine that serves no handler."""
        return cls(lack=Lack(reason=reason, kind=kind, fix=fix))
