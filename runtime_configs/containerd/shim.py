"""What a handler's shim makes of its table: the binary that it starts, and whose shim it is."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Final

from runtime_configs.adapter import ConfigRequest
from runtime_configs.containerd.keys import HANDLER, OPTIONS
from runtime_configs.containerd.keys import matching as matching_of
from runtime_configs.containerd.schema import NVIDIA_BINARY, Era
from runtime_configs.formats.documents import KeyPath
from runtime_configs.formats.key_case import read, repeated, table_at
from runtime_configs.formats.values import table
from runtime_configs.model import ConfigError
from runtime_configs.shims import OLD_LINUX, RUNC_V1, RUNC_V2, sandbox_fix, starts_runc

OLD_KEYS: Final[tuple[KeyPath, ...]] = (
    ("runtime_engine",),
    ("runtime_root",),
    ("options", "Runtime"),
    ("options", "RuntimeRoot"),
)
"""Keys that the shim before 1.3 alone knows: 1.x refuses all pods where another type has one of the
first two (``ValidatePluginConfig`` in ``pkg/cri/config/config.go``)."""
_NUMBERED = (RUNC_V1, RUNC_V2)


def takes_binary_name(runtime_type: str, era: Era) -> bool:
    """Tell whether a type's options are those of runc's shims, with ``BinaryName``.

    These names alone are: the same shim under another one gets its options in a form that it can't
    read, and starts nothing (``getRuntimeOptionsType``; tried on 1.6, 1.7 and 2.1). 2.x does not
    know the first of them any more.
    """
    known = _NUMBERED if era is Era.REPLACES else (RUNC_V2,)
    return runtime_type in known or runtime_type == "" or runtime_type.startswith("$")


def binary_of(handler: Mapping[str, object], era: Era) -> str | None:
    """Return the low-level runtime's binary that a handler's table names to its shim, if any.

    The table is one that was read with ``key_case.read``.
    """
    options = table(handler, "options")
    found = options.get("BinaryName")
    if _text(handler, "runtime_type") == OLD_LINUX and era is Era.REPLACES:
        # It looks at runtime_engine only where there are no options at all.
        found = options.get("Runtime") if options else handler.get("runtime_engine")
    return found if isinstance(found, str) and found else None


def is_nvidia(handler: Mapping[str, object], toolkit_dir: str) -> bool:
    """Tell whether a handler names one of our binaries or NVIDIA's own, under whichever key."""
    options = table(handler, "options")
    named = (options.get("BinaryName"), options.get("Runtime"), handler.get("runtime_engine"))
    return any(
        isinstance(binary, str)
        and (
            posixpath.basename(binary).startswith(NVIDIA_BINARY)
            or binary.startswith(f"{toolkit_dir.rstrip('/')}/")
        )
        for binary in named
    )


def is_low_level(handler: Mapping[str, object], toolkit_dir: str) -> bool:
    """Tell whether a handler's options are for a binary that takes runc's place."""
    return has_runc_shim(handler) and not is_nvidia(handler, toolkit_dir)


def has_runc_shim(handler: Mapping[str, object]) -> bool:
    """Tell whether a handler's shim is one of runc."""
    return starts_runc(_text(handler, "runtime_type"), _text(handler, "runtime_path"))


def program_of(handler: Mapping[str, object]) -> str:
    """Return the path of the shim that a handler names as a program, empty where it names none."""
    kind = _text(handler, "runtime_type")
    return _text(handler, "runtime_path") or (kind if kind.startswith("/") else "")


def shim_of(handler: Mapping[str, object], request: ConfigRequest, era: Era) -> dict[str, str]:
    """Return type and path of the shim that starts our binary where this handler's shim is one.

    A type whose options have no ``BinaryName`` gives way to the one that is asked for; a program
    that it names by its path stays, as ``runtime_path``.
    """
    kind = _text(handler, "runtime_type")
    if not kind or not takes_binary_name(kind, era):
        kind = request.desired.runtime_type
    elif kind == RUNC_V1 and request.version is None:
        kind = RUNC_V2  # it may be 2.x
    path = program_of(handler)
    return {"runtime_type": kind, "runtime_path": path} if path else {"runtime_type": kind}


def refuse_sandbox(
    handlers: Mapping[str, Mapping[str, object]], request: ConfigRequest, path: str
) -> None:
    """Refuse a handler of our name that somebody has for a sandbox. Raises ConfigError.

    To make it ours would take the sandbox from the pods that ask for it by that name.
    """
    desired = request.desired
    chosen = (desired.runtime_type, desired.override.get("runtime_type"))
    for index, each in enumerate(desired.handlers):
        handler = handlers.get(each.name, {})
        kind = _text(handler, "runtime_type")
        if has_runc_shim(handler) or (kind in chosen and not starts_runc(kind)):
            continue
        shim = f"runtime_type {kind}"
        if starts_runc(kind):
            shim += f" with runtime_path {_text(handler, 'runtime_path')}"
        raise ConfigError(
            path,
            f"the handler {each.name} has {shim}, which is not a shim of runc: it is somebody's "
            "sandbox, and a setup would take it away",
            sandbox_fix(each.name, main=index == 0),
        )


def flaw_of(handler: Mapping[str, object], era: Era) -> str:
    """Return why a handler's shim does not start the binary that is named; empty where it does.

    Two spellings of a key are one, as another containerd takes the other. The table is one as it
    stands in the file or in the engine's report.
    """
    matching = matching_of(era)
    twice = repeated(table_at(handler, ("options",), HANDLER, matching), OPTIONS)
    kind = _text(read(handler, HANDLER, matching), "runtime_type")
    if twice:
        return (
            f"has an option in {len(twice)} spellings ({', '.join(twice)}), and which of them "
            "counts depends on containerd's version: keep one"
        )
    if not kind:
        return "has no runtime_type"
    if takes_binary_name(kind, era) or (kind == OLD_LINUX and era is Era.REPLACES):
        return ""
    return f"has runtime_type {kind}, whose options have no BinaryName"


def _text(handler: Mapping[str, object], key: str) -> str:
    value = handler.get(key)
    return value if isinstance(value, str) else ""
