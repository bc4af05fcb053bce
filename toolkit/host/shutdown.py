"""Whether the host or its engine is being stopped, according to its systemd and logind.

Each answers in some hundredths of a second. No answer is a result too.
"""

from __future__ import annotations

import time

from msgspec import Struct

from toolkit.host.commands import CommandResult, CommandRunner

_TARGET = "shutdown.target"
"""Every shutdown requires it: halt, power-off, reboot, kexec and soft-reboot. systemd reports its
state as ``stopping`` while the target is active or has a job (``manager_state`` in its
manager.c)."""
_LOGIND = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
_FINAL = "systemd-shutdow"
"""The name of PID 1 once it is ``systemd-shutdown``, which kills all processes and answers no
requests; the kernel cuts it to 15 characters."""


class HostState(Struct, frozen=True, kw_only=True):
    """Whether the host or its engine is being stopped."""

    going_down: bool | None
    """None if neither systemd nor logind answered."""
    how: str
    """The evidence, for the log."""


def host_state(
    commands: CommandRunner, unit: str | None, deadline: float, proc: str = "/proc"
) -> HostState:
    """Ask systemd and logind, up to a monotonic deadline; ``unit`` is the engine's.

    A kubelet that shuts its node down gracefully ends its pods while it holds logind's delay lock:
    systemd has no shutdown job yet, but logind reports PreparingForShutdown (tried with systemd 252
    and a delay lock, tests/node/test_stop_reason.py).
    """
    if _init_name(proc) == _FINAL:
        return HostState(going_down=True, how="systemd-shutdown runs as PID 1")
    units = (_TARGET,) if unit is None else (_TARGET, unit)
    shown = _run(commands, ("systemctl", "show", "--property=Id,ActiveState,Job", *units), deadline)
    target, *engine = _states(shown)
    if target.get("ActiveState") in {"active", "activating"} or target.get("Job"):
        return HostState(going_down=True, how=f"systemd is stopping: {_TARGET} has begun")
    if any(each.get("ActiveState") == "deactivating" for each in engine):
        return HostState(going_down=True, how=f"systemd is stopping {unit}")
    get = ("busctl", "get-property", *_LOGIND, "PreparingForShutdown")
    logind = _run(commands, get, deadline)
    if logind.output.split() == [b"b", b"true"]:
        return HostState(going_down=True, how="logind prepares a shutdown")
    if "ActiveState" not in target:
        return HostState(going_down=None, how=f"systemd can't be asked: {shown.reason}")
    return HostState(going_down=False, how="systemd is not stopping")


def _run(commands: CommandRunner, arguments: tuple[str, ...], deadline: float) -> CommandResult:
    return commands.run(arguments, max(0.0, deadline - time.monotonic()))


def _states(shown: CommandResult) -> list[dict[str, str]]:
    """Return the properties of each unit in the order of asking; blank lines separate them."""
    blocks = shown.output.decode(errors="replace").split("\n\n")
    return [dict(line.partition("=")[::2] for line in block.splitlines()) for block in blocks]


def _init_name(proc: str) -> str:
    try:
        with open(f"{proc}/1/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
