"""Rows: the driver, the installed config.toml, CDI and NRI."""

from __future__ import annotations

from toolkit.options import names, parsers
from toolkit.options.option import OFF, ON, OPTIONAL_PATH, Group, Value, listed, path

_LOG_LEVELS = ("trace", "debug", "info", "warning", "warn", "error", "fatal", "panic")
_MODES = ("auto", "cdi", "csv", "jit-cdi", "legacy")

DRIVER = Group("Driver")
DRIVER_ROOT = DRIVER.add(
    "--driver-root --nvidia-driver-root",
    "NVIDIA_DRIVER_ROOT DRIVER_ROOT",
    path("/run/nvidia/driver"),
    "the driver's root on the host",
)
DRIVER_ROOT_IN_CONTAINER = DRIVER.add(
    "--driver-root-ctr-path",
    "DRIVER_ROOT_CTR_PATH",
    path("/run/nvidia/driver"),
    "the same, as this container sees it",
)
DEV_ROOT = DRIVER.add(
    "--dev-root",
    "NVIDIA_DEV_ROOT DEV_ROOT",
    OPTIONAL_PATH,
    "the root that contains /dev",
    default_text="the driver root",
)
DEV_ROOT_IN_CONTAINER = DRIVER.add(
    "--dev-root-ctr-path",
    "DEV_ROOT_CTR_PATH",
    OPTIONAL_PATH,
    "the same, as this container sees it",
    default_text="the driver root in the container",
)
REQUIRE_DRIVER = DRIVER.add(
    "--require-driver",
    "TOOLKIT_REQUIRE_DRIVER",
    OFF,
    "while the driver is not loaded, a container that requests GPUs fails, to be retried, instead"
    " of starting without them",
)
DEV_CHAR_SYMLINKS = DRIVER.add(
    "--create-dev-char-symlinks",
    "CREATE_DEV_CHAR_SYMLINKS",
    OFF,
    "links /dev/char/MAJOR:MINOR for the driver's device nodes: containers keep their GPUs at a"
    " systemctl daemon-reload",
)

CONFIG_TOML = Group("The toolkit's config.toml")
RUNTIME_DEBUG = CONFIG_TOML.add(
    "--nvidia-container-runtime.debug --nvidia-container-runtime-debug",
    "NVIDIA_CONTAINER_RUNTIME_DEBUG",
    OPTIONAL_PATH,
    "the runtime's debug log file",
)
RUNTIME_LOG_LEVEL = CONFIG_TOML.add(
    "--nvidia-container-runtime.log-level --nvidia-container-runtime-debug-log-level",
    "NVIDIA_CONTAINER_RUNTIME_LOG_LEVEL",
    Value(parsers.optional(parsers.one_word_of(*_LOG_LEVELS)), "LEVEL", None),
    "the runtime's log level",
)
RUNTIME_MODE = CONFIG_TOML.add(
    "--nvidia-container-runtime.mode --nvidia-container-runtime-mode",
    "NVIDIA_CONTAINER_RUNTIME_MODE",
    Value(parsers.optional(parsers.one_word_of(*_MODES)), "MODE", None),
    "the runtime's mode: auto, cdi, csv, jit-cdi or legacy",
)
DEFAULT_KIND = CONFIG_TOML.add(
    "--nvidia-container-runtime.modes.cdi.default-kind",
    "NVIDIA_CONTAINER_RUNTIME_MODES_CDI_DEFAULT_KIND",
    Value(parsers.optional(names.cdi_kind), "VENDOR/CLASS", None),
    "the CDI kind of a device that is named without one",
)
ANNOTATION_PREFIXES = CONFIG_TOML.add(
    "--nvidia-container-runtime.modes.cdi.annotation-prefixes"
    " --nvidia-container-runtime-modes.cdi.annotation-prefixes",
    "NVIDIA_CONTAINER_RUNTIME_MODES_CDI_ANNOTATION_PREFIXES",
    listed(parsers.each(names.annotation_prefix)),
    "annotations that name CDI devices; containerd's handlers let them through",
)
RUNTIMES = CONFIG_TOML.add(
    "--nvidia-container-runtime.runtimes",
    "NVIDIA_CONTAINER_RUNTIME_RUNTIMES",
    listed(parsers.each(names.low_level_runtime)),
    "the low-level runtimes, in order of preference",
    default_text="the engine's own, then runc, crun",
)
SKIP_MODE_DETECTION = CONFIG_TOML.add(
    "--nvidia-container-runtime-hook.skip-mode-detection",
    "NVIDIA_CONTAINER_RUNTIME_HOOK_SKIP_MODE_DETECTION",
    ON,
    "the hook does not look at the runtime's mode",
)
CLI_DEBUG = CONFIG_TOML.add(
    "--nvidia-container-cli.debug --nvidia-container-cli-debug",
    "NVIDIA_CONTAINER_CLI_DEBUG",
    OPTIONAL_PATH,
    "nvidia-container-cli's debug log file",
)
ACCEPT_ENVVAR = CONFIG_TOML.add(
    "--accept-nvidia-visible-devices-envvar-when-unprivileged",
    "ACCEPT_NVIDIA_VISIBLE_DEVICES_ENVVAR_WHEN_UNPRIVILEGED",
    ON,
    "unprivileged containers may name devices by variable",
)
ACCEPT_VOLUME_MOUNTS = CONFIG_TOML.add(
    "--accept-nvidia-visible-devices-as-volume-mounts",
    "ACCEPT_NVIDIA_VISIBLE_DEVICES_AS_VOLUME_MOUNTS",
    OFF,
    "containers may name devices by volume mounts",
)
OPT_IN_FEATURES = CONFIG_TOML.add(
    "--opt-in-features",
    "NVIDIA_CONTAINER_TOOLKIT_OPT_IN_FEATURES",
    listed(parsers.each(names.feature)),
    "features to turn on in config.toml",
)

CDI = Group("CDI")
CDI_ENABLED = CDI.add(
    "--cdi-enabled --enable-cdi", "CDI_ENABLED ENABLE_CDI", OFF, "write a management CDI spec"
)
CDI_ONLY = CDI.add(
    "--cdi-only",
    "CDI_ONLY",
    OFF,
    "a CDI spec, and CDI enabled in the engine: no handler, no default handler",
)
CDI_OUTPUT_DIR = CDI.add(
    "--cdi-output-dir",
    "CDI_OUTPUT_DIR",
    Value(lambda text: parsers.absolute_path(text) if text else "", "PATH", "/var/run/cdi"),
    "the directory of the spec; empty: no spec",
    empty_variable_counts=True,
)
CDI_KIND = CDI.add(
    "--cdi-kind",
    "CDI_KIND",
    Value(names.cdi_kind, "VENDOR/CLASS", "management.nvidia.com/gpu"),
    "the kind of the spec's devices",
)
CREATE_DEVICE_NODES = CDI.add(
    "--create-device-nodes",
    "CREATE_DEVICE_NODES",
    Value(names.device_nodes, "control|none", default=True, repeatable=True),
    "which device nodes to create, only with CDI; empty: none",
    default_text="control",
    empty_variable_counts=True,
)

NRI = Group("NRI")
NRI_ENABLED = NRI.add(
    "--enable-nri-plugin -p",
    "ENABLE_NRI_PLUGIN",
    OFF,
    "NRI mode: no engine config is touched; needs --nri-namespace",
)
NRI_INDEX = NRI.add(
    "--nri-plugin-index",
    "NRI_PLUGIN_INDEX",
    Value(parsers.plugin_index, "0-99", 10),
    "the plugin's position in NRI's order",
)
NRI_SOCKET = NRI.add(
    "--nri-socket",
    "NRI_SOCKET",
    path("/var/run/nri/nri.sock", parsers.socket_path),
    "the engine's NRI socket",
)
NRI_NAMESPACE = NRI.add(
    "--nri-namespace",
    "NRI_NAMESPACE",
    Value(parsers.optional(names.dns_label), "NAMESPACE", None),
    "the namespace whose pods may get management devices",
)
NRI_MANAGEMENT_NAMESPACES = NRI.add(
    "--nri-management-cdi-device-namespaces",
    "NRI_MANAGEMENT_CDI_DEVICE_NAMESPACES",
    listed(parsers.each(names.dns_label)),
    "more namespaces whose pods may get them",
)
