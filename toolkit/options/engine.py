"""Rows: the engine's files, socket, reload and handlers."""

from __future__ import annotations

from collections.abc import Mapping

from runtime_configs.model import EngineName
from toolkit.options import names, parsers
from toolkit.options.option import Option
from toolkit.options.rows import choice, listed, optional_path, path, switch
from toolkit.settings import CrioMode, RestartMode

_BY_ENGINE = "by engine"


def _of_each(suffix: str) -> tuple[tuple[EngineName, str], ...]:
    return tuple((name, f"{name.name}_{suffix}") for name in EngineName)


CONFIG = Option(
    flags=("--config",),
    variables=("RUNTIME_CONFIG",),
    engine_variables=_of_each("CONFIG"),
    parse=parsers.absolute_path,
    default="",
    default_text=_BY_ENGINE,
    metavar="PATH",
    help="the engine's top-level config",
)
DROP_IN = Option(
    flags=("--drop-in-config",),
    variables=("RUNTIME_DROP_IN_CONFIG",),
    parse=parsers.absolute_path,
    default="",
    default_text=_BY_ENGINE,
    metavar="PATH",
    help="our own config file beside it, if the engine merges drop-ins",
)
DROP_IN_HOST_PATH = optional_path(
    ("--drop-in-config-host-path",),
    ("RUNTIME_DROP_IN_CONFIG_HOST_PATH",),
    "the drop-in's path on the host, used in imports",
)
EXECUTABLE_PATH = optional_path(
    ("--executable-path",),
    ("RUNTIME_EXECUTABLE_PATH",),
    "the engine's binary, for the config source command",
    "the running daemon's own",
)
SOCKET = Option(
    flags=("--socket",),
    variables=("RUNTIME_SOCKET",),
    engine_variables=_of_each("SOCKET"),
    parse=parsers.socket_path,
    default="",
    default_text=_BY_ENGINE,
    metavar="PATH",
    help="the engine's socket",
)
RESTART_MODE = Option(
    flags=("--restart-mode",),
    variables=("RUNTIME_RESTART_MODE",),
    engine_variables=_of_each("RESTART_MODE"),
    parse=parsers.one_of(RestartMode),
    default=RestartMode.AUTO,
    metavar="auto|signal|systemd|none",
    help="how the engine is made to reload its config",
)
CONFIG_SOURCES = listed(
    ("--config-source", "--config-sources"),
    ("RUNTIME_CONFIG_SOURCES", "RUNTIME_CONFIG_SOURCE"),
    names.config_sources,
    "sources of the effective config, the first that works: live, command, file, file=/PATH",
    default=("live", "command", "file"),
)
ENABLE_CDI: Option[bool | None] = Option(
    flags=("--enable-cdi-in-runtime",),
    variables=("RUNTIME_ENABLE_CDI",),
    parse=parsers.boolean,
    default=None,
    default_text="same as --cdi-enabled",
    boolean=True,
    metavar="",
    help="enable_cdi, or features.cdi, in the engine's config",
)
HANDLER_NAME = Option(
    flags=("--runtime-name", "--nvidia-runtime-name", "--runtime-class"),
    variables=("NVIDIA_RUNTIME_NAME",),
    engine_variables=(
        (EngineName.CONTAINERD, "CONTAINERD_RUNTIME_CLASS"),
        (EngineName.DOCKER, "DOCKER_RUNTIME_NAME"),
    ),
    parse=names.handler_name,
    default="nvidia",
    metavar="NAME",
    help="the runtime handler's name; nvidia-cdi and nvidia-legacy are always added beside it",
)
SET_AS_DEFAULT = Option(
    flags=("--set-as-default",),
    variables=("NVIDIA_RUNTIME_SET_AS_DEFAULT",),
    engine_variables=(
        (EngineName.CONTAINERD, "CONTAINERD_SET_AS_DEFAULT"),
        (EngineName.DOCKER, "DOCKER_SET_AS_DEFAULT"),
    ),
    parse=parsers.boolean,
    default=True,
    boolean=True,
    metavar="",
    help="make it the default handler",
)
USE_LEGACY_CONFIG = switch(
    ("--use-legacy-config",), ("CONTAINERD_USE_LEGACY_CONFIG",), "for containerd before 1.3"
)
RUNTIME_TYPE = Option(
    flags=("--runtime-type",),
    variables=("CONTAINERD_RUNTIME_TYPE",),
    parse=names.runtime_type,
    default="io.containerd.runc.v2",
    metavar="TYPE",
    help="the handlers' runtime_type in containerd where none is inherited",
)
_NO_OVERRIDE: Mapping[str, object] = {}
CONFIG_OVERRIDE = Option(
    flags=("--runtime-config-override",),
    variables=("RUNTIME_CONFIG_OVERRIDE", "CONTAINERD_RUNTIME_CONFIG_OVERRIDE"),
    parse=parsers.handler_override,
    default=_NO_OVERRIDE,
    default_text="{}",
    metavar="JSON",
    help="merged into each handler's table, except for its binary's name; containerd only",
)
HOOKS_DIR = path(
    ("--hooks-dir",),
    ("CRIO_HOOKS_DIR",),
    "/usr/share/containers/oci/hooks.d",
    "CRI-O's directory of OCI hooks",
)
HOOK_FILENAME = Option(
    flags=("--hook-filename",),
    variables=("CRIO_HOOK_FILENAME",),
    parse=names.hook_filename,
    default="oci-nvidia-hook.json",
    metavar="NAME",
    help="the hook's file name there",
)
CONFIG_MODE = choice(
    ("--config-mode",),
    ("CRIO_CONFIG_MODE",),
    CrioMode.CONFIG,
    "how CRI-O uses the toolkit: handlers in its config, or an OCI hook",
)
