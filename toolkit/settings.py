"""Flags and variables, checked once and frozen before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from runtime_configs.model import EngineName

HANDLERS_BESIDE = ("nvidia-cdi", "nvidia-legacy")
"""The handlers that are always added beside the main one, which can't have their names."""


class PackageType(StrEnum):
    """How the payload is laid out below the source root."""

    AUTO = "auto"
    DEB = "deb"
    RPM = "rpm"


class RestartMode(StrEnum):
    """How the engine is made to reload its config."""

    AUTO = "auto"
    SIGNAL = "signal"
    SYSTEMD = "systemd"
    NONE = "none"


class OnExit(StrEnum):
    """What SIGTERM means for the engine's config."""

    AUTO = "auto"
    """What it is sent for decides: ``toolkit.daemon.stop_reason``."""
    REVERT = "revert"
    KEEP = "keep"


class OnExitUnknown(StrEnum):
    """What it means with ``auto`` where nobody can tell what it is sent for."""

    REVERT = "revert"
    KEEP = "keep"


class CrioMode(StrEnum):
    """How CRI-O learns of the toolkit."""

    CONFIG = "config"
    HOOK = "hook"


class Verify(StrEnum):
    """What a setup has to see before it counts."""

    SERVED = "served"
    """The engine reports the handlers, and can execute their binaries."""
    RUN = "run"
    """A sandbox was started through each of them, too."""


class LogFormat(StrEnum):
    """How log lines look on stderr."""

    TEXT = "text"
    JSON = "json"


class Output(StrEnum):
    """How a command's result looks on stdout."""

    TEXT = "text"
    JSON = "json"


class Color(StrEnum):
    """Whether what is printed has colours."""

    AUTO = "auto"
    """On a terminal."""
    ALWAYS = "always"
    NEVER = "never"


class GivenPath(Struct, frozen=True, kw_only=True):
    """A path as the user gave it, or the engine's default."""

    path: str
    source: str
    """The flag or variable that it came from, or ``default``."""

    @property
    def declared(self) -> bool:
        """True where the user gave it."""
        return self.source != "default"


class EngineSettings(Struct, frozen=True, kw_only=True):
    """What the user said of one engine."""

    config: GivenPath
    drop_in: GivenPath | None
    """None for an engine without drop-ins."""
    drop_in_host_path: str | None
    executable_path: str | None
    socket: GivenPath
    restart_mode: RestartMode
    config_sources: tuple[str, ...]
    """``live``, ``command``, ``file`` or ``file=/path``, in the order of trying."""
    enable_cdi: bool
    handler_name: str
    set_as_default: bool
    use_legacy_config: bool
    runtime_type: str
    config_override: Mapping[str, object]
    annotation_prefixes: tuple[str, ...]

    @property
    def handler_names(self) -> tuple[str, ...]:
        """The main handler, and those beside it."""
        return (self.handler_name, *HANDLERS_BESIDE)


class CrioSettings(Struct, frozen=True, kw_only=True):
    """CRI-O's own options."""

    hooks_dir: str
    hook_filename: str
    mode: CrioMode


class PayloadSettings(Struct, frozen=True, kw_only=True):
    """Where the toolkit's files come from."""

    source_root: str | None
    """None: ``/artifacts/<package type>``."""
    package_type: PackageType
    ignore_errors: bool
    require_driver: bool
    """A container that asks for GPUs fails while the driver is not loaded."""


class DriverSettings(Struct, frozen=True, kw_only=True):
    """Where the driver and its device nodes are, on the host and as this container sees them."""

    root: str
    root_in_container: str
    dev_root: str
    dev_root_in_container: str


class RuntimeConfigSettings(Struct, frozen=True, kw_only=True):
    """Keys of the installed ``config.toml``; None leaves a key as the payload has it."""

    debug: str | None
    log_level: str | None
    mode: str | None
    default_kind: str | None
    runtimes: tuple[str, ...]
    annotation_prefixes: tuple[str, ...]
    skip_mode_detection: bool
    cli_debug: str | None
    accept_envvar_when_unprivileged: bool
    accept_volume_mounts: bool
    opt_in_features: tuple[str, ...]


class CdiSettings(Struct, frozen=True, kw_only=True):
    """The management CDI spec."""

    enabled: bool
    """A spec is wanted: ``--cdi-enabled``, or NRI mode, whose devices are CDI devices."""
    output_dir: str
    """Empty: no spec is written."""
    kind: str
    create_device_nodes: bool
    """The control device nodes; only where ``enabled``."""


class NriSettings(Struct, frozen=True, kw_only=True):
    """The NRI plugin."""

    enabled: bool
    """False with ``--no-daemon`` whatever else was said."""
    index: int
    socket: str
    namespace: str
    management_namespaces: tuple[str, ...]


class LifecycleSettings(Struct, frozen=True, kw_only=True):
    """How long things may take and what stays resident; times in seconds."""

    no_daemon: bool
    no_runtime_config: bool
    on_exit: OnExit
    on_exit_unknown: OnExitUnknown
    stop_timeout: float
    verify: Verify
    verify_timeout: float
    reconcile_interval: float
    """0: never."""
    health_address: str | None
    """``host:port`` with the host possibly empty; None: off."""
    health_source: str
    """The flag or variable that it came from, or ``default``."""
    pid_file: str
    ready_file: str
    feature_file: str | None
    """None: nothing labels the node."""


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that the user can say, checked."""

    runtime: EngineName | None
    """None: ``auto``."""
    engines: Mapping[EngineName, EngineSettings]
    """One entry for each engine: variables such as ``CONTAINERD_CONFIG`` are the engine's own."""
    crio: CrioSettings
    install_dir: str
    host_root: str
    payload: PayloadSettings
    driver: DriverSettings
    runtime_config: RuntimeConfigSettings
    cdi: CdiSettings
    nri: NriSettings
    lifecycle: LifecycleSettings
    debug: bool
    log_format: LogFormat
    color: Color
    warnings: tuple[str, ...] = ()
    """What was taken differently from what was said; the command line logs them."""
