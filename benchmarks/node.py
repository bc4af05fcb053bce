"""A node with systemd: how long the job takes there, and how long its engine is away."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import Figure, Series
from benchmarks.memory import memory_of
from benchmarks.subject import Subject, ending
from testbed.containerd import RELEASES
from testbed.nspawn import InstallerContainer, Node, booted_node
from testbed.probe import DowntimeProbe, Outage
from testbed.program import HANDLERS
from testbed.supervised import wait_for

RELEASE = RELEASES[0]
SECTION = f"node, containerd {RELEASE.series}"
ROUNDS = 5
BASELINE_ROUNDS = 2
"""SIGHUP alone takes RestartSec, five seconds, each time."""
PATIENCE = 60.0
POLL = 0.001
"""Seconds between two looks for an end; what is measured is right to this."""


@dataclass(slots=True)
class Found:
    """What one subject was measured to do; times in seconds."""

    verified: list[float] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    back: list[Outage] = field(default_factory=list)
    second: list[float] = field(default_factory=list)
    memory: list[dict[str, float]] = field(default_factory=list)
    ended: str = ""
    """How another installer ended on the way; empty while it goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFigures:
    """The rows, and one outage of each kind for the picture."""

    figures: tuple[Figure, ...]
    ours: Outage
    baseline: Outage


def measure(payload: Path, subjects: tuple[Subject, ...]) -> NodeFigures:
    """Boot a node and measure each subject on it."""
    with booted_node(RELEASE) as node:
        alone = [_outage(node, lambda: _hang_up(node)) for _ in range(BASELINE_ROUNDS)]
        found = {subject.name: Found() for subject in subjects}
        for number in range(ROUNDS + 1):
            for subject in subjects:
                kept = found[subject.name]
                _guarded(node, payload, subject, kept if number else Found(ended=kept.ended), kept)
    figures = _figures(found, alone)
    middle = sorted(found["ours"].outages, key=lambda outage: outage.silent)[ROUNDS // 2]
    return NodeFigures(figures=tuple(figures), ours=middle, baseline=alone[0])


def _guarded(node: Node, payload: Path, subject: Subject, found: Found, kept: Found) -> None:
    """Measure a round; another installer that fails is told of, and its traces are removed.

    NVIDIA's kills itself where the socket's first bytes name PID 0.
    """
    if kept.ended:
        return
    node.run("sh", "-c", "rm -rf /root/before; cp -a /etc/containerd /root/before")
    try:
        _round(node, payload, subject, found)
    except (RuntimeError, TimeoutError) as error:
        if subject.ours:
            raise
        kept.ended = ending(error)
        node.run("sh", "-c", "rm -rf /etc/containerd; cp -a /root/before /etc/containerd")
        node.run("systemctl", "reset-failed", "containerd")
        node.run("systemctl", "restart", "containerd")


def _round(node: Node, payload: Path, subject: Subject, found: Found) -> None:
    """Set up, look at the keeper, run once more with nothing changed, stop."""
    started: list[InstallerContainer] = []
    found.outages.append(
        _outage(
            node,
            lambda: started.append(_start(node, payload, subject)),
            lambda: bool(started) and not started[0].running(),
        )
    )
    found.verified.append(_wait_served(node, subject, started[0]))
    found.memory.append(memory_of(started[0].pid))
    found.back.append(_outage(node, lambda: _terminate(started[0])))
    if subject.ours:
        _wait(_start(node, payload, subject, "--no-daemon"))
        again = _start(node, payload, subject, "--no-daemon")
        found.second.append(_wait(again))
        _wait(_start(node, payload, subject, "revert"))


def _start(node: Node, payload: Path, subject: Subject, *arguments: str) -> InstallerContainer:
    variables = {
        "RUNTIME": "containerd",
        "TOOLKIT_SOURCE_ROOT": str(payload),
        "TOOLKIT_PACKAGE_TYPE": "deb",
    }
    if subject.ours:
        return node.start_installer(list(arguments), variables)
    # Another installer is not relied on to look below the host's root by itself.
    host = str(node.host_root)
    variables |= {
        "ROOT": f"{host}/usr/local/nvidia",
        "RUNTIME_CONFIG": f"{host}/etc/containerd/config.toml",
        "RUNTIME_DROP_IN_CONFIG": f"{host}/etc/containerd/conf.d/99-nvidia.toml",
        "RUNTIME_DROP_IN_CONFIG_HOST_PATH": "/etc/containerd/conf.d/99-nvidia.toml",
        "RUNTIME_SOCKET": f"{host}/run/containerd/containerd.sock",
        "TOOLKIT_PID_FILE": f"{host}/run/nvidia/toolkit/toolkit.pid",
    }
    return node.start_container([*subject.command, *arguments], variables)


def _outage(
    node: Node, act: Callable[[], object], over: Callable[[], bool] = lambda: False
) -> Outage:
    """Return the engine's absence after something was done.

    Raises RuntimeError where ``over`` says that nothing comes any more.
    """
    node.run("systemctl", "reset-failed", "containerd")
    with DowntimeProbe(node.socket) as probe:
        act()
        wait_for(lambda: probe.outages or over(), "the engine to go and come back", PATIENCE)
    outage = probe.longest()
    if outage is None:
        raise RuntimeError("before the engine was away")
    return outage


def _hang_up(node: Node) -> None:
    node.run("kill", "-HUP", str(node.unit_pid()))


def _terminate(installer: InstallerContainer) -> None:
    installer.kill(signal.SIGTERM)
    _wait(installer)


def _wait(installer: InstallerContainer) -> float:
    """Wait for the end; return the seconds since the start. Raises RuntimeError."""
    while installer.running():
        time.sleep(POLL)
        if time.monotonic() - installer.started_at > PATIENCE:
            break
    seconds = time.monotonic() - installer.started_at
    code = installer.wait(0)
    if code:
        raise RuntimeError(f"exit code {code}\n{installer.stderr[-2000:]}")
    return seconds


def _wait_served(node: Node, subject: Subject, installer: InstallerContainer) -> float:
    """Return the seconds from the start until the handlers are verified, or served at least.

    Ours says so itself, by its ready file; of another installer only the engine can tell.
    """
    ready = Path(f"/proc/{node.init}/root/run/nvidia/toolkit/toolkit-ready")

    def done() -> bool:
        if not installer.running():
            raise RuntimeError(f"it ended\n{installer.stderr[-2000:]}")
        if subject.ours:
            return ready.exists()
        return set(HANDLERS) <= set(node.cri.served().handlers)

    wait_for(done, "the handlers", PATIENCE)
    at = ready.stat().st_mtime if subject.ours else time.time()
    seconds = at - (time.time() - time.monotonic()) - installer.started_at
    time.sleep(0.3)  # until it is idle
    return seconds


def _figures(found: dict[str, Found], alone: list[Outage]) -> list[Figure]:
    ours, peer = found["ours"], found.get("peer")

    def row(
        name: str, get: Callable[[Found], list[float]], *, aim: float | None, base: list[float]
    ) -> Figure:
        return Figure(
            section=SECTION,
            measured=Series(name=name, unit="s", values=tuple(get(ours))),
            baseline=Series(name="SIGHUP alone", unit="s", values=tuple(base)) if base else None,
            peer=Series(name=name, unit="s", values=tuple(values))
            if peer is not None and (values := get(peer))
            else None,
            peer_ended=peer.ended if peer is not None and not get(peer) else "",
            aim=aim,
        )

    refused = [outage.refused for outage in alone]
    silent = [outage.silent for outage in alone]
    rows = [
        row("start to handlers verified", lambda one: one.verified, aim=1.0, base=[]),
        row("socket away", lambda one: [o.refused for o in one.outages], aim=0.15, base=refused),
        row("CRI answers again", lambda one: [o.silent for o in one.outages], aim=0.3, base=silent),
        row(
            "CRI answers again at SIGTERM",
            lambda one: [o.silent for o in one.back],
            aim=0.3,
            base=silent,
        ),
        row("second run, nothing changed", lambda one: one.second, aim=0.5, base=[]),
    ]
    idle = f"{SECTION}, idle"
    return rows + [_memory(idle, name, ours, peer) for name in ours.memory[0]]


def _memory(section: str, name: str, ours: Found, peer: Found | None) -> Figure:
    def series(found: Found) -> Series:
        return Series(name=name, unit="MB", values=tuple(each[name] for each in found.memory))

    return Figure(
        section=section,
        measured=series(ours),
        peer=None if peer is None or not peer.memory else series(peer),
        peer_ended="" if peer is None or peer.memory else peer.ended,
    )


def runs_here() -> str | None:
    """Return why no node can be booted here, or None."""
    return None if shutil.which("systemd-nspawn") else "systemd-nspawn is missing: `make tools`"
