"""Which runtime types start containers with runc, or with a binary in its place.

A type names a program: ``io.containerd.NAME.VERSION`` is ``containerd-shim-NAME-VERSION``, whatever
its prefix, and an absolute path is the program itself (``BinaryName`` and ``resolveRuntimePath`` in
containerd's ``runtime/v2``; dockerd does the same). Only a shim of runc starts the binary that a
handler names. Any other has its own sandbox, or is not known here.
"""

from __future__ import annotations

import posixpath
import re
from typing import Final

from runtime_configs.model import ConfigError, DesiredHandlers

RUNC_V1: Final = "io.containerd.runc.v1"
RUNC_V2: Final = "io.containerd.runc.v2"
OLD_LINUX: Final = "io.containerd.runtime.v1.linux"
"""The shim of containerd before 1.3, which 1.x still starts; 2.0 does not."""
TAKES_SANDBOX: Final = "it is somebody's sandbox, and a setup would take it away"
_RUNC_PROGRAM = re.compile(r"containerd-shim-runc-v[12]")
_OTHER_PROGRAM = re.compile(r"containerd-shim-(?!runc-v[12]$).+")


def starts_runc(runtime_type: str, runtime_path: str = "") -> bool:
    """Return whether a shim is one of runc; an empty type is the engine's default, which is.

    ``runtime_path`` is a program that containerd starts instead of the type's own. The type still
    determines its options, so it counts unless the program has the name of another shim. A type
    such as ``${RUNTIME_TYPE}`` is filled in later (MicroK8s).
    """
    if _OTHER_PROGRAM.fullmatch(posixpath.basename(runtime_path)):
        return False
    if runtime_type in ("", OLD_LINUX) or runtime_type.startswith("$"):
        return True
    return _RUNC_PROGRAM.fullmatch(program(runtime_type)) is not None


def sandbox_error(desired: DesiredHandlers, name: str, path: str, found: str) -> ConfigError:
    """Return the error for a handler with one of our names that is another runtime's sandbox.

    To replace it would take the sandbox from the pods that use this name.
    """
    if name == desired.handlers[0].name:
        fix = "choose another --runtime-name"
    else:
        fix = f"rename or remove it: --runtime-name does not change the name {name}"
    return ConfigError(path, f"{found}: {TAKES_SANDBOX}", fix)


def program(runtime_type: str) -> str:
    """Return the program name that a type stands for, or an empty string."""
    if runtime_type.startswith("/"):
        return posixpath.basename(runtime_type)
    parts = runtime_type.split(".")
    return "" if len(parts) < 2 else f"containerd-shim-{parts[-2]}-{parts[-1]}"  # noqa: PLR2004
