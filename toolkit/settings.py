"""Flags and variables, checked and frozen before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from runtime_configs.model import EngineName

HANDLERS_BESIDE = ("nvidia-cdi", "nvidia-legacy")
"""The handlers always added beside the main one, which cannot have their names."""


class PackageType(StrEnum):
    """The layout of the payload below the source root."""

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
    """What SIGTERM does to the engine's config."""

    AUTO = "auto"
    """Depends on why the daemon is stopped: ``toolkit.daemon.stop_reason``."""
    REVERT = "revert"
    KEEP = "keep"


class OnExitUnknown(StrEnum):
    """What SIGTERM does with ``auto`` if the reason is not known."""

    REVERT = "revert"
    KEEP = "keep"


class CrioMode(StrEnum):
    """How CRI-O uses the toolkit: by handlers in its config, or by a hook."""

    CONFIG = "config"
    HOOK = "hook"


class Verify(StrEnum):
    """What a setup checks before it is complete."""

    SERVED = "served"
    """The engine reports the handlers, and can execute their binaries."""
    RUN = "run"
    """A sandbox was started with each of them, too."""


class LogFormat(StrEnum):
    """The form of log lines on stderr."""

    TEXT = "text"
    JSON = "json"


class Output(StrEnum):
    """The form of a command's result on stdout."""

    TEXT = "text"
    JSON = "json"


class Color(StrEnum):
    """Whether output is coloured."""

    AUTO = "auto"
    """On a terminal."""
    ALWAYS = "always"
    NEVER = "never"


class GivenPath(Struct, frozen=True, kw_only=True):
    """A path from the user, or the engine's default."""

    path: str
    source: str
    """Its flag or variable, or ``default``."""

    @property
    def declared(self) -> bool:
        """Whether the user gave it."""
        return self.source != "default"


class EngineSettings(Struct, frozen=True, kw_only=True):
    """The settings of one engine."""

    config: GivenPath
    drop_in: GivenPath | None
    """None for an engine without drop-ins."""
    drop_in_host_path: str | None
    executable_path: str | None
    socket: GivenPath
    restart_mode: RestartMode
    config_sources: tuple[str, ...]
    """``live``, ``command``, ``file`` or ``file=/path``, in order of preference."""
    enable_cdi: bool
    handler_name: str
    set_as_default: bool
    use_legacy_config: bool
    runtime_type: str
    config_override: Mapping[str, object]
    annotation_prefixes: tuple[str, ...]
    cdi_only: bool = False
    """Enable CDI only: the engine gets no handler and no default handler."""

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
    """The source of the toolkit's files."""

    source_root: str | None
    """None: ``/artifacts/<package type>``."""
    package_type: PackageType
    ignore_errors: bool
    require_driver: bool
    """A container that requests GPUs fails while the driver is not loaded."""


class DriverSettings(Struct, frozen=True, kw_only=True):
    """The driver and its device nodes, on the host and as this container sees them."""

    root: str
    root_in_container: str
    dev_root: str
    dev_root_in_container: str


class RuntimeConfigSettings(Struct, frozen=True, kw_only=True):
    """Keys of the installed ``config.toml``; None keeps the payload's value."""

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
    """Whether a spec is wanted: ``--cdi-enabled``, or NRI mode, whose devices are CDI devices."""
    output_dir: str
    """Empty: no spec is written."""
    kind: str
    create_device_nodes: bool
    """Whether to create the control device nodes; False unless ``enabled``."""
    dev_char_links: bool = False
    """Whether to link the driver's device nodes in /dev/char, with or without CDI."""


class NriSettings(Struct, frozen=True, kw_only=True):
    """The NRI plugin."""

    enabled: bool
    """Always False with ``--no-daemon``."""
    index: int
    socket: str
    namespace: str
    management_namespaces: tuple[str, ...]


class LifecycleSettings(Struct, frozen=True, kw_only=True):
    """Time limits in seconds, and what stays resident."""

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
    """``host:port``, where the host may be empty; None: off."""
    health_source: str
    """Its flag or variable, or ``default``."""
    pid_file: str
    ready_file: str
    feature_file: str | None
    """None: the node is not labelled."""


class Settings(Struct, frozen=True, kw_only=True):
    """All settings, checked."""

    runtime: EngineName | None
    """None: ``auto``."""
    engines: Mapping[EngineName, EngineSettings]
    """One entry per engine: variables such as ``CONTAINERD_CONFIG`` apply to one engine."""
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
    """Values that are not used as given; the command line logs them."""
