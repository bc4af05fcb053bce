"""Recognise programs that answer on an engine's socket but cannot be set up."""

from __future__ import annotations

import posixpath

from msgspec import Struct

from runtime_configs.model import EngineName
from toolkit.engine.process.identity import is_engine
from toolkit.host.processes import ProcessFacts

_DESKTOP = "com.docker.backend"
"""Docker Desktop's proxy on Linux: the engine runs in its virtual machine."""
_SNAP = "/snap/docker/"


class Stranger(Struct, frozen=True, kw_only=True):
    """Why the process behind a socket is left alone, and how to fix it."""

    why: str
    fix: str = "check --runtime and --socket"
    invisible: bool = False
    """Whether it is because the process is in no PID namespace visible from here."""


def known_stranger(engine: EngineName, process: ProcessFacts, socket: str) -> Stranger | None:
    """Return why a program cannot be set up; None if it is not a known one."""
    executable = process.executable or ""
    name = posixpath.basename(executable)
    if name == "podman":
        return Stranger(
            why=f"podman (PID {process.pid}) answers on {socket}, not {engine}",
            fix="podman needs no handler: use CDI (--no-runtime-config --cdi-enabled)",
        )
    if name == _DESKTOP or "/docker-desktop/" in executable:
        return Stranger(
            why=f"Docker Desktop (PID {process.pid}) answers on {socket}: its engine runs in a"
            " virtual machine, not on this host",
            fix="use Docker Engine, or name its socket with --socket",
        )
    if engine is EngineName.DOCKER and executable.startswith(_SNAP):
        return Stranger(
            why=f"dockerd (PID {process.pid}) on {socket} is the Docker snap: its confinement keeps"
            " it from the toolkit's files",
            fix="use the snap's own NVIDIA support, or install Docker as a package",
        )
    if process.user and is_engine(engine, process):
        return Stranger(
            why=f"{name or engine} (PID {process.pid}) on {socket} is rootless (user"
            f" {process.user}): it reads its user's config, not the host's",
            fix="name the system's engine with --socket, or set up the rootless one as its user"
            " with nvidia-ctk",
        )
    return None
