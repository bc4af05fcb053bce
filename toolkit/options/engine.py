"""Rows: the engine's files, socket, reload and handlers."""

from __future__ import annotations

from collections.abc import Mapping

from runtime_configs.model import EngineName
from toolkit.options import names, parsers
from toolkit.options.option import (
    OFF,
    ON,
    OPTIONAL_PATH,
    Group,
    Option,
    Value,
    choice,
    listed,
    path,
)
from toolkit.settings import CrioMode, RestartMode

_BY_ENGINE = "by engine"


def _of_each(suffix: str) -> Mapping[EngineName, str]:
    return {name: f"{name.name}_{suffix}" for name in EngineName}


ENGINE = Group("Engine")
CONFIG = ENGINE.add(
    "--config",
    "RUNTIME_CONFIG",
    path(""),
    "the engine's top-level config",
    default_text=_BY_ENGINE,
    engine_variables=_of_each("CONFIG"),
)
DROP_IN = ENGINE.add(
    "--drop-in-config",
    "RUNTIME_DROP_IN_CONFIG",
    path(""),
    "our own config file beside it, if the engine merges drop-ins",
    default_text=_BY_ENGINE,
)
DROP_IN_HOST_PATH = ENGINE.add(
    "--drop-in-config-host-path",
    "RUNTIME_DROP_IN_CONFIG_HOST_PATH",
    OPTIONAL_PATH,
    "the drop-in's path on the host, used in imports",
)
EXECUTABLE_PATH = ENGINE.add(
    "--executable-path",
    "RUNTIME_EXECUTABLE_PATH",
    OPTIONAL_PATH,
    "the engine's binary, for the config source command",
    default_text="the running daemon's own",
)
SOCKET = ENGINE.add(
    "--socket",
    "RUNTIME_SOCKET",
    path("", parsers.socket_path),
    "the engine's socket",
    default_text=_BY_ENGINE,
    engine_variables=_of_each("SOCKET"),
)
RESTART_MODE = ENGINE.add(
    "--restart-mode",
    "RUNTIME_RESTART_MODE",
    choice(RestartMode.AUTO),
    "how the engine is made to reload its config",
    engine_variables=_of_each("RESTART_MODE"),
)
CONFIG_SOURCES = ENGINE.add(
    "--config-source --config-sources",
    "RUNTIME_CONFIG_SOURCES RUNTIME_CONFIG_SOURCE",
    listed(names.config_sources, ("live", "command", "file")),
    "sources of the effective config, the first that works: live, command, file, file=/PATH",
)
HOOKS_DIR = ENGINE.add(
    "--hooks-dir",
    "CRIO_HOOKS_DIR",
    path("/usr/share/containers/oci/hooks.d"),
    "CRI-O's directory of OCI hooks",
)
HOOK_FILENAME = ENGINE.add(
    "--hook-filename",
    "CRIO_HOOK_FILENAME",
    Value(names.hook_filename, "NAME", "oci-nvidia-hook.json"),
    "the hook's file name there",
)
CONFIG_MODE = ENGINE.add(
    "--config-mode",
    "CRIO_CONFIG_MODE",
    choice(CrioMode.CONFIG),
    "how CRI-O uses the toolkit: handlers in its config, or an OCI hook",
)

HANDLERS = Group("Runtime handlers")
HANDLER_NAME = HANDLERS.add(
    "--runtime-name --nvidia-runtime-name --runtime-class",
    "NVIDIA_RUNTIME_NAME",
    Value(names.handler_name, "NAME", "nvidia"),
    "the runtime handler's name; nvidia-cdi and nvidia-legacy are always added beside it",
    engine_variables={
        EngineName.CONTAINERD: "CONTAINERD_RUNTIME_CLASS",
        EngineName.DOCKER: "DOCKER_RUNTIME_NAME",
    },
)
SET_AS_DEFAULT = HANDLERS.add(
    "--set-as-default",
    "NVIDIA_RUNTIME_SET_AS_DEFAULT",
    ON,
    "make it the default handler",
    engine_variables={
        EngineName.CONTAINERD: "CONTAINERD_SET_AS_DEFAULT",
        EngineName.DOCKER: "DOCKER_SET_AS_DEFAULT",
    },
)
ENABLE_CDI = HANDLERS.add(
    "--enable-cdi-in-runtime",
    "RUNTIME_ENABLE_CDI",
    Value(parsers.boolean, "", None),
    "enable_cdi, or features.cdi, in the engine's config",
    default_text="same as --cdi-enabled",
)
RUNTIME_TYPE = HANDLERS.add(
    "--runtime-type",
    "CONTAINERD_RUNTIME_TYPE",
    Value(names.runtime_type, "TYPE", "io.containerd.runc.v2"),
    "the handlers' runtime_type in containerd where none is inherited",
)
USE_LEGACY_CONFIG = HANDLERS.add(
    "--use-legacy-config", "CONTAINERD_USE_LEGACY_CONFIG", OFF, "for containerd before 1.3"
)
CONFIG_OVERRIDE: Option[Mapping[str, object]] = HANDLERS.add(
    "--runtime-config-override",
    "RUNTIME_CONFIG_OVERRIDE CONTAINERD_RUNTIME_CONFIG_OVERRIDE",
    Value(parsers.handler_override, "JSON", {}),
    "merged into each handler's table, except for its binary's name; containerd only",
    default_text="{}",
)
