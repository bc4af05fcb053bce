"""Which runtime types start containers with runc, or with a binary that takes runc's place.

A type names a program: ``io.containerd.NAME.VERSION`` is ``containerd-shim-NAME-VERSION``, whatever
stands before, and an absolute path is the program itself (``BinaryName`` and ``resolveRuntimePath``
in containerd's ``runtime/v2``, dockerd does the same). Only a shim of runc starts the binary that a
handler names. Any other brings a sandbox of its own, or none that is known here.
"""

from __future__ import annotations

import posixpath
import re
from typing import Final

RUNC_V1: Final = "io.containerd.runc.v1"
RUNC_V2: Final = "io.containerd.runc.v2"
OLD_LINUX: Final = "io.containerd.runtime.v1.linux"
"""The shim of containerd before 1.3, which 1.x still starts; 2.0 has no such shim."""
_RUNC_PROGRAM = re.compile(r"containerd-shim-runc-v[12]")
_OTHER_PROGRAM = re.compile(r"containerd-shim-(?!runc-v[12]$).+")


def starts_runc(runtime_type: str, runtime_path: str = "") -> bool:
    """Tell whether a shim is one of runc. An empty type is the engine's own, which is.

    ``runtime_path`` is a program that containerd starts in place of the type's own: the type still
    says what options it gets, so it counts as long as the program has no other shim's name. A type
    such as ``${RUNTIME_TYPE}`` is filled in later (MicroK8s).
    """
    if _OTHER_PROGRAM.fullmatch(posixpath.basename(runtime_path)):
        return False
    if runtime_type in ("", OLD_LINUX) or runtime_type.startswith("$"):
        return True
    return _RUNC_PROGRAM.fullmatch(program(runtime_type)) is not None


def sandbox_fix(name: str, *, main: bool) -> str:
    """Return what to do about a handler of our name that is somebody's sandbox."""
    if main:
        return "choose another --runtime-name"
    return f"rename or remove it: --runtime-name does not change the name {name}"


def program(runtime_type: str) -> str:
    """Return the name of the program that a type stands for, empty where it stands for none."""
    if runtime_type.startswith("/"):
        return posixpath.basename(runtime_type)
    parts = runtime_type.split(".")
    return "" if len(parts) < 2 else f"containerd-shim-{parts[-2]}-{parts[-1]}"  # noqa: PLR2004
