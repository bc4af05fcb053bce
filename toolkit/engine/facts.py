"""Facts about the engine and the node: what runs, what it reports, and what is expected of it."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from runtime_configs.adapter import Placement
from runtime_configs.model import EffectiveConfig, EngineName, Version


class Source(StrEnum):
    """Where a fact was read."""

    LIVE = "live"
    COMMAND = "command"
    FILE = "file"


class Supervisor(StrEnum):
    """What restarts the engine after it exits."""

    SYSTEMD = "systemd"
    PARENT = "parent"
    """A live parent process other than PID 1."""
    SELF = "self"
    """The distribution watches the config and restarts the engine by itself (k0s)."""
    NONE = "none"


class EngineProcess(Struct, frozen=True, kw_only=True):
    """The daemon behind the socket. Paths are host paths."""

    pid: int
    start_time: int
    """Field 22 of /proc/PID/stat, in clock ticks since boot; unique together with the PID."""
    executable: str
    arguments: tuple[str, ...]
    supervisor: Supervisor
    unit: str | None
    """The systemd unit that owns it, from its cgroup; for a child (k3s) the parent's service."""
    parent_pid: int
    search_path: tuple[str, ...] = ()
    """The directories of its ``PATH``, where it looks up a low-level runtime without a path."""
    root: str = ""
    """The engine's root directory in its own mounts, below /proc, as this process sees it.

    Empty if not known; then the host's root is used.
    """


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


class HandlerRun(Struct, frozen=True, kw_only=True):
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
    def nothing(cls, reason: str, kind: LackKind = LackKind.PENDING) -> Served:
        """Return the answer of an engine that serves no handler."""
        return cls(lack=Lack(reason=reason, kind=kind))


class HostFacts(Struct, frozen=True, kw_only=True):
    """One engine as it is now. Paths are host paths."""

    engine: EngineName
    socket: str
    process: EngineProcess | None
    """None: the engine does not run or cannot be reached (see ``unreachable``)."""
    unreachable: str | None
    version: Version | None
    version_source: Source | None
    top_level: str
    drop_in: str | None
    effective: EffectiveConfig | None
    """The config from which the handlers take their options, read from the first source that
    works."""
    effective_source: Source | None
    served: Served
    executable: str | None
    """The engine's binary for its dump command: the running daemon's, or the declared one."""
    distribution: str
    """The row of the distribution table, such as ``plain`` or ``k3s``."""
    placement: Placement
    template: str | None
    unread: tuple[str, ...] = ()
    """Why each config source before that one does not work, or all of them."""
    warnings: tuple[str, ...] = ()
    """Declared values that contradict the live daemon, each naming both."""
    refused: str | None = None
    """Why nothing can be set up on this node, and how to fix it."""

    @property
    def shown_version(self) -> str:
        """The version for messages, after the engine's name."""
        return "of unknown version" if self.version is None else self.version.text

    @property
    def in_force(self) -> EffectiveConfig | None:
        """What the engine serves; if unknown, what its files would make it serve."""
        return self.served.config or self.effective


class Expectation(Struct, frozen=True, kw_only=True):
    """What the engine must serve for a setup or a revert to be complete."""

    served: tuple[tuple[str, str], ...] = ()
    """Handler name and binary path on the host, all of which must be served."""
    runnable: bool = False
    """Whether a handler counts only if its table lets a pod start the binary."""
    absent: tuple[tuple[str, str], ...] = ()
    """Handler name and binary path that must no longer be served."""
    default: str | None = None
    """The required default handler; None: not checked."""
    absent_default: str | None = None
    """The handler that must no longer be the default."""
    cdi: str | None = None
    """CDI must be enabled and, unless empty, read specs from this directory; None: not checked."""


class ReloadReport(Struct, frozen=True, kw_only=True):
    """One completed reload; times in seconds."""

    mode: str
    process: EngineProcess
    """The process that serves now."""
    refused: float
    """How long the socket accepted no connection, as seen by this process; 0.0 for a live
    reload."""
    answering_after: float
    """From the signal to the first answer."""


class Holding(StrEnum):
    """Whether containers use one of our binaries as their runtime."""

    HELD = "held"
    FREE = "free"
    CANNOT_TELL = "cannot tell"


class OwnContainer(Struct, frozen=True, kw_only=True):
    """A container or sandbox of this process that our binary runs."""

    identifier: str
    """The ID by which the engine deletes it."""
    binary: str
    """On the host."""


class HoldReport(Struct, frozen=True, kw_only=True):
    """Whether containers hold the payload, which ones, or why that is not known."""

    holding: Holding
    containers: tuple[str, ...] = ()
    """Names of other containers that hold it."""
    reason: str = ""
    own: tuple[OwnContainer, ...] = ()
    """Containers that end with this process. They hold nothing, but the engine must delete them."""
