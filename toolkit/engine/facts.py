"""What was found out about the engine and the node, before anything is planned."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from runtime_configs.adapter import Placement
from runtime_configs.model import EffectiveConfig, EngineName, Version
from toolkit.engine.answers import Served


class Source(StrEnum):
    """Where a fact was read."""

    LIVE = "live"
    COMMAND = "command"
    FILE = "file"


class Supervisor(StrEnum):
    """What starts the engine again after it went."""

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
    """Field 22 of /proc/PID/stat, in clock ticks since boot: with the PID it names one process."""
    executable: str
    arguments: tuple[str, ...]
    supervisor: Supervisor
    unit: str | None
    """The systemd unit that owns it, from its cgroup; of a child (k3s) the owning service's."""
    parent_pid: int
    search_path: tuple[str, ...] = ()
    """The directories of its ``PATH``: where it finds a low-level runtime that is only named."""
    root: str = ""
    """Where this process sees the engine's root directory, in the engine's own mounts: below /proc.

    Empty: it is not known, and the host's stands for it.
    """


class HostFacts(Struct, frozen=True, kw_only=True):
    """One engine as it is now. Paths are host paths."""

    engine: EngineName
    socket: str
    process: EngineProcess | None
    """None: the engine does not run or could not be reached (``unreachable`` says why)."""
    unreachable: str | None
    version: Version | None
    version_source: Source | None
    top_level: str
    drop_in: str | None
    effective: EffectiveConfig | None
    """What the handlers take their options from: the first config source that works."""
    effective_source: Source | None
    served: Served
    executable: str | None
    """The engine's binary for its dump command: the running daemon's own, or the declared one."""
    distribution: str
    """The row of the distribution table, such as ``plain`` or ``k3s``."""
    placement: Placement
    template: str | None
    unread: tuple[str, ...] = ()
    """Why each config source before that one does not work, or all of them."""
    warnings: tuple[str, ...] = ()
    """Declared values that contradict the live daemon, each naming both."""
    refused: str | None = None
    """Why nothing can be set up on this node as it is, and what to do about it."""

    @property
    def in_force(self) -> EffectiveConfig | None:
        """What the engine serves, else what its files would make it serve."""
        return self.served.config or self.effective


class Expectation(Struct, frozen=True, kw_only=True):
    """What the engine has to serve for a setup or a revert to count as done."""

    served: tuple[tuple[str, str], ...] = ()
    """Handler name and binary path on the host, each of which has to be served."""
    runnable: bool = False
    """A handler counts only where its own table lets a pod start the binary."""
    absent: tuple[tuple[str, str], ...] = ()
    """Handler name and binary path that must not be served any more."""
    default: str | None = None
    """The handler that has to be the default one; None: not looked at."""
    absent_default: str | None = None
    """The handler that must not be the default one any more."""


class ReloadReport(Struct, frozen=True, kw_only=True):
    """One reload that was carried out; times in seconds."""

    mode: str
    process: EngineProcess
    """The process that serves now."""
    refused: float
    """How long the socket took no connection, as seen by this process; 0.0 for a live reload."""
    answering_after: float
    """From the signal to the first answer."""


class Holding(StrEnum):
    """Whether containers have one of our binaries as their runtime."""

    HELD = "held"
    FREE = "free"
    CANNOT_TELL = "cannot tell"


class OwnContainer(Struct, frozen=True, kw_only=True):
    """A container, or the sandbox, that this process runs in and that our binary runs."""

    identifier: str
    """By which the engine has it deleted."""
    binary: str
    """On the host."""


class HoldReport(Struct, frozen=True, kw_only=True):
    """The answer, and which containers hold the payload, or why that is not known."""

    holding: Holding
    containers: tuple[str, ...] = ()
    """Those of others, by name."""
    reason: str = ""
    own: tuple[OwnContainer, ...] = ()
    """Those that end with this process: they hold nothing, but the engine has to delete them."""
