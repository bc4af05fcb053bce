"""What a running engine said, before it is made into facts."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from runtime_configs.model import EffectiveConfig


class LackKind(StrEnum):
    """Whether an engine that serves nothing may come to serve something by itself."""

    PENDING = "pending"
    """It is not asked, not up, or still starting."""
    FAILED = "failed"
    """It runs and can't serve: only another start can fix it."""
    DISABLED = "disabled"
    """It runs, and its config turns the CRI off."""


class Lack(Struct, frozen=True, kw_only=True):
    """Why an engine serves no handler at the moment."""

    reason: str
    kind: LackKind = LackKind.PENDING
    fix: str = ""


class LiveAnswer(Struct, frozen=True, kw_only=True):
    """What the running daemon said of itself."""

    version: str | None = None
    config: bytes | None = None
    """In the form that the engine's adapter decodes."""
    listed: frozenset[str] | None = None
    """Handler names that the engine lists beside its config, where it does."""
    lack: Lack | None = None
    """Why it serves nothing, though it answered; it may tell its config all the same."""


class Trial(Struct, frozen=True, kw_only=True):
    """What came of starting a sandbox, or with Docker a container, through one handler."""

    handler: str
    """Empty: the default one, by not naming any."""
    binary: str | None = None
    """The low-level runtime that the engine executed for it; None: it does not tell."""
    failure: str = ""
    """Why nothing was started."""
    untried: str = ""
    """Why it was not tried."""


class Served(Struct, frozen=True, kw_only=True):
    """What the engine itself says that it serves, never what its files say; or why nothing."""

    config: EffectiveConfig | None = None
    listed: frozenset[str] | None = None
    """Handler names that the engine lists beside its config, where it does."""
    lack: Lack | None = None
    """Set where ``config`` is None, and only there."""

    @classmethod
    def nothing(cls, reason: str, kind: LackKind = LackKind.PENDING, fix: str = "") -> Served:
        """Return the answer of an engine that serves no handler."""
        return cls(lack=Lack(reason=reason, kind=kind, fix=fix))
