"""The shim of a handler: the binary that it starts, and whose shim it is."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Final

from runtime_configs.adapter import ConfigRequest
from runtime_configs.containerd.keys import HANDLER, OPTIONS
from runtime_configs.containerd.keys import matching as matching_of
from runtime_configs.containerd.schema import NVIDIA_BINARY, Era, era_of
from runtime_configs.formats.key_case import read, repeated, table_at
from runtime_configs.formats.values import KeyPath, table, text_at
from runtime_configs.shims import OLD_LINUX, RUNC_V1, RUNC_V2, sandbox_error, starts_runc

OLD_KEYS: Final[tuple[KeyPath, ...]] = (
    ("runtime_engine",),
    ("runtime_root",),
    ("options", "Runtime"),
    ("options", "RuntimeRoot"),
)
"""Keys for only the shim before 1.3. 1.x rejects all pods if another type has one of the first two
(``ValidatePluginConfig`` in ``pkg/cri/config/config.go``)."""
_NUMBERED = (RUNC_V1, RUNC_V2)


def takes_binary_name(runtime_type: str, era: Era) -> bool:
    """Return whether a type's options are those of runc's shims, with ``BinaryName``.

    Only these names are: under another one the same shim gets its options in a form that it can't
    read, and starts nothing (``getRuntimeOptionsType``; tried on 1.6, 1.7 and 2.1). 2.x no longer
    supports the first of them.
    """
    known = _NUMBERED if era is Era.REPLACES else (RUNC_V2,)
    return runtime_type in known or runtime_type == "" or runtime_type.startswith("$")


def binary_of(handler: Mapping[str, object], era: Era) -> str | None:
    """Return the low-level runtime's binary that a handler's table passes to its shim, if any.

    The table comes from ``key_case.read``.
    """
    found = text_at(handler, "options", "BinaryName")
    if text_at(handler, "runtime_type") == OLD_LINUX and era is Era.REPLACES:
        # The shim uses runtime_engine only without any options.
        place = ("options", "Runtime") if table(handler, "options") else ("runtime_engine",)
        found = text_at(handler, *place)
    return found or None


def is_nvidia(handler: Mapping[str, object], request: ConfigRequest) -> bool:
    """Return whether a handler names one of our or NVIDIA's binaries, in any key."""
    options = table(handler, "options")
    named = (options.get("BinaryName"), options.get("Runtime"), handler.get("runtime_engine"))
    return any(
        request.is_ours(binary) or posixpath.basename(str(binary)).startswith(NVIDIA_BINARY)
        for binary in named
    )


def is_low_level(handler: Mapping[str, object], request: ConfigRequest) -> bool:
    """Return whether a handler's options are for a binary that replaces runc."""
    return has_runc_shim(handler) and not is_nvidia(handler, request)


def has_runc_shim(handler: Mapping[str, object]) -> bool:
    """Return whether a handler's shim is one of runc."""
    return starts_runc(text_at(handler, "runtime_type"), text_at(handler, "runtime_path"))


def own_program(handler: Mapping[str, object]) -> dict[str, str]:
    """Return the shim that a handler names as a program, by its path, as ``runtime_path``."""
    runtime_type = text_at(handler, "runtime_type")
    program = runtime_type if runtime_type.startswith("/") else ""
    named = text_at(handler, "runtime_path") or program
    return {"runtime_path": named} if named else {}


def shim_of(handler: Mapping[str, object], request: ConfigRequest) -> dict[str, str]:
    """Return type and path of the shim for our binary: this handler's, if that is one of runc.

    A type whose options have no ``BinaryName`` is replaced by the requested one. A program that it
    names by its path stays, as ``runtime_path``.
    """
    runtime_type = text_at(handler, "runtime_type")
    if not runtime_type or not takes_binary_name(runtime_type, era_of(request)):
        runtime_type = request.desired.runtime_type
    elif runtime_type == RUNC_V1 and request.version is None:
        runtime_type = RUNC_V2  # it may be 2.x
    return {"runtime_type": runtime_type, **own_program(handler)}


def refuse_sandbox(
    handlers: Mapping[str, Mapping[str, object]], request: ConfigRequest, path: str
) -> None:
    """Reject a handler with our name that is another's sandbox. Raises ConfigError."""
    desired = request.desired
    chosen = (desired.runtime_type, desired.override.get("runtime_type"))
    for each in desired.handlers:
        handler = handlers.get(each.name, {})
        runtime_type = text_at(handler, "runtime_type")
        if has_runc_shim(handler) or (runtime_type in chosen and not starts_runc(runtime_type)):
            continue
        shim = f"runtime_type {runtime_type}"
        if starts_runc(runtime_type):
            shim += f" with runtime_path {text_at(handler, 'runtime_path')}"
        found = f"the handler {each.name} has {shim}, which is not a shim of runc"
        raise sandbox_error(desired, each.name, path, found)


def flaw_of(handler: Mapping[str, object], era: Era) -> str:
    """Return why a handler's shim does not start the named binary; empty if it does.

    Two spellings of a key are a reason, as each containerd uses another one. The table has its keys
    as spelled in the file or in the engine's report.
    """
    matching = matching_of(era)
    twice = repeated(table_at(handler, ("options",), HANDLER, matching), OPTIONS)
    runtime_type = text_at(read(handler, HANDLER, matching), "runtime_type")
    if twice:
        return (
            f"has an option in {len(twice)} spellings ({', '.join(twice)}), and which of them "
            "counts depends on containerd's version: keep one"
        )
    if not runtime_type:
        return "has no runtime_type"
    if takes_binary_name(runtime_type, era) or (runtime_type == OLD_LINUX and era is Era.REPLACES):
        return ""
    return f"has runtime_type {runtime_type}, whose options have no BinaryName"
