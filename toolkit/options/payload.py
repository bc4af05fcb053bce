"""Rows: the driver, the installed config.toml, CDI and NRI."""

from __future__ import annotations

from toolkit.options import names, parsers
from toolkit.options.option import Option
from toolkit.options.rows import listed, optional_path, path, switch

DRIVER_ROOT = path(
    ("--driver-root", "--nvidia-driver-root"),
    ("NVIDIA_DRIVER_ROOT", "DRIVER_ROOT"),
    "/run/nvidia/driver",
    "the driver's root on the host",
)
DRIVER_ROOT_IN_CONTAINER = path(
    ("--driver-root-ctr-path",),
    ("DRIVER_ROOT_CTR_PATH",),
    "/run/nvidia/driver",
    "the same, as this container sees it",
)
DEV_ROOT = optional_path(
    ("--dev-root",),
    ("NVIDIA_DEV_ROOT", "DEV_ROOT"),
    "the root that contains /dev",
    "the driver root",
)
DEV_ROOT_IN_CONTAINER = optional_path(
    ("--dev-root-ctr-path",),
    ("DEV_ROOT_CTR_PATH",),
    "the same, as this container sees it",
    "the driver root in the container",
)
DEV_CHAR_SYMLINKS = switch(
    ("--create-dev-char-symlinks",),
    ("CREATE_DEV_CHAR_SYMLINKS",),
    "links /dev/char/MAJOR:MINOR for the driver's device nodes: containers keep their GPUs at a"
    " systemctl daemon-reload",
)
REQUIRE_DRIVER = switch(
    ("--require-driver",),
    ("TOOLKIT_REQUIRE_DRIVER",),
    "while the driver is not loaded, a container that requests GPUs fails, to be retried, instead"
    " of starting without them",
)

RUNTIME_DEBUG = optional_path(
    ("--nvidia-container-runtime.debug", "--nvidia-container-runtime-debug"),
    ("NVIDIA_CONTAINER_RUNTIME_DEBUG",),
    "the runtime's debug log file",
)
RUNTIME_LOG_LEVEL = Option(
    flags=("--nvidia-container-runtime.log-level", "--nvidia-container-runtime-debug-log-level"),
    variables=("NVIDIA_CONTAINER_RUNTIME_LOG_LEVEL",),
    parse=parsers.optional(
        parsers.one_word_of("trace", "debug", "info", "warning", "warn", "error", "fatal", "panic")
    ),
    default=None,
    metavar="LEVEL",
    help="the runtime's log level",
)
RUNTIME_MODE = Option(
    flags=("--nvidia-container-runtime.mode", "--nvidia-container-runtime-mode"),
    variables=("NVIDIA_CONTAINER_RUNTIME_MODE",),
    parse=parsers.optional(parsers.one_word_of("auto", "cdi", "csv", "jit-cdi", "legacy")),
    default=None,
    metavar="MODE",
    help="the runtime's mode: auto, cdi, csv, jit-cdi or legacy",
)
DEFAULT_KIND = Option(
    flags=("--nvidia-container-runtime.modes.cdi.default-kind",),
    variables=("NVIDIA_CONTAINER_RUNTIME_MODES_CDI_DEFAULT_KIND",),
    parse=parsers.optional(names.cdi_kind),
    default=None,
    metavar="VENDOR/CLASS",
    help="the CDI kind of a device that is named without one",
)
ANNOTATION_PREFIXES = listed(
    (
        "--nvidia-container-runtime.modes.cdi.annotation-prefixes",
        "--nvidia-container-runtime-modes.cdi.annotation-prefixes",
    ),
    ("NVIDIA_CONTAINER_RUNTIME_MODES_CDI_ANNOTATION_PREFIXES",),
    parsers.each(names.annotation_prefix),
    "annotations that name CDI devices; containerd's handlers let them through",
)
RUNTIMES = listed(
    ("--nvidia-container-runtime.runtimes",),
    ("NVIDIA_CONTAINER_RUNTIME_RUNTIMES",),
    parsers.each(names.low_level_runtime),
    "the low-level runtimes, in order of preference",
    default_text="the engine's own, then runc, crun",
)
SKIP_MODE_DETECTION = switch(
    ("--nvidia-container-runtime-hook.skip-mode-detection",),
    ("NVIDIA_CONTAINER_RUNTIME_HOOK_SKIP_MODE_DETECTION",),
    "the hook does not look at the runtime's mode",
    default=True,
)
CLI_DEBUG = optional_path(
    ("--nvidia-container-cli.debug", "--nvidia-container-cli-debug"),
    ("NVIDIA_CONTAINER_CLI_DEBUG",),
    "nvidia-container-cli's debug log file",
)
ACCEPT_ENVVAR = switch(
    ("--accept-nvidia-visible-devices-envvar-when-unprivileged",),
    ("ACCEPT_NVIDIA_VISIBLE_DEVICES_ENVVAR_WHEN_UNPRIVILEGED",),
    "unprivileged containers may name devices by variable",
    default=True,
)
ACCEPT_VOLUME_MOUNTS = switch(
    ("--accept-nvidia-visible-devices-as-volume-mounts",),
    ("ACCEPT_NVIDIA_VISIBLE_DEVICES_AS_VOLUME_MOUNTS",),
    "containers may name devices by volume mounts",
)
OPT_IN_FEATURES = listed(
    ("--opt-in-features",),
    ("NVIDIA_CONTAINER_TOOLKIT_OPT_IN_FEATURES",),
    parsers.each(names.feature),
    "features to turn on in config.toml",
)

CDI_ENABLED = switch(
    ("--cdi-enabled", "--enable-cdi"),
    ("CDI_ENABLED", "ENABLE_CDI"),
    "write a management CDI spec",
)
CDI_ONLY = switch(
    ("--cdi-only",),
    ("CDI_ONLY",),
    "a CDI spec, and CDI enabled in the engine: no handler, no default handler",
)
CDI_OUTPUT_DIR = Option(
    flags=("--cdi-output-dir",),
    variables=("CDI_OUTPUT_DIR",),
    parse=lambda text: parsers.absolute_path(text) if text else "",
    default="/var/run/cdi",
    metavar="PATH",
    help="the directory of the spec; empty: no spec",
    empty_variable_counts=True,
)
CDI_KIND = Option(
    flags=("--cdi-kind",),
    variables=("CDI_KIND",),
    parse=names.cdi_kind,
    default="management.nvidia.com/gpu",
    metavar="VENDOR/CLASS",
    help="the kind of the spec's devices",
)
CREATE_DEVICE_NODES = Option(
    flags=("--create-device-nodes",),
    variables=("CREATE_DEVICE_NODES",),
    parse=names.device_nodes,
    default=True,
    default_text="control",
    metavar="control|none",
    repeatable=True,
    help="which device nodes to create, only with CDI; empty: none",
    empty_variable_counts=True,
)

NRI_ENABLED = switch(
    ("--enable-nri-plugin", "-p"),
    ("ENABLE_NRI_PLUGIN",),
    "NRI mode: no engine config is touched; needs --nri-namespace",
)
NRI_INDEX = Option(
    flags=("--nri-plugin-index",),
    variables=("NRI_PLUGIN_INDEX",),
    parse=parsers.whole_number(0, 99),
    default=10,
    metavar="0-99",
    help="the plugin's position in NRI's order",
)
NRI_SOCKET = Option(
    flags=("--nri-socket",),
    variables=("NRI_SOCKET",),
    parse=parsers.socket_path,
    default="/var/run/nri/nri.sock",
    metavar="PATH",
    help="the engine's NRI socket",
)
NRI_NAMESPACE = Option(
    flags=("--nri-namespace",),
    variables=("NRI_NAMESPACE",),
    parse=parsers.optional(names.dns_label),
    default=None,
    metavar="NAMESPACE",
    help="the namespace whose pods may get management devices",
)
NRI_MANAGEMENT_NAMESPACES = listed(
    ("--nri-management-cdi-device-namespaces",),
    ("NRI_MANAGEMENT_CDI_DEVICE_NAMESPACES",),
    parsers.each(names.dns_label),
    "more namespaces whose pods may get them",
)
