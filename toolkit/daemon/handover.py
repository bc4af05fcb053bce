"""What the daemon hands over to the resident process: the engine's process and what to watch."""

from __future__ import annotations

import time
from collections.abc import Mapping

from toolkit.apply.begin import Outcome
from toolkit.daemon import keeper
from toolkit.daemon.drift import UNKNOWN, executed, greeting_of, signatures, watched
from toolkit.daemon.keeper_state import Resident, Watch
from toolkit.daemon.lock_and_ready import Presence
from toolkit.host.followed import RETRY, state_of
from toolkit.host.followed import UNKNOWN as NOT_LOOKED_AT
from toolkit.journal.record import Record
from toolkit.node import Node

SYSTEMD_PEER = "1"
"""The peer of a socket that systemd opened for the engine."""
UNVERIFIED = "unverified"
"""A peer that matches no process: the keeper returns as soon as its rest is over."""


def watch(
    node: Node,
    presence: Presence,
    resident: Resident,
    record: Record | None,
    earlier: Mapping[str, str] | None,
) -> Watch:
    """Return what the keeper watches.

    ``earlier`` has the signatures from before a setup looked at the files; None where it failed.
    Without the right CDI spec the node is not ready either.
    """
    now, retry_at = time.monotonic(), resident.retry_at
    root = engine_root(node, resident.peer)
    pid_file = resident.lock_path
    lack = node.installer.cdi.state.lack
    return Watch(
        interval=node.settings.lifecycle.reconcile_interval,
        rest=max(0.0, resident.not_before - now),
        retry=-1.0 if retry_at is None else max(0.0, retry_at - now),
        ready=earlier is not None and not lack and not node.settings.nri.enabled,
        ready_file="" if lack and node.settings.nri.enabled else presence.ready_file,
        feature_file=presence.feature_file,
        socket=socket(node, record),
        greeting=greeting_of(record),
        files=(
            (pid_file, keeper.signature(pid_file)),
            *watched(node, record, earlier),
            *executed(node, record, root, verified=earlier is not None),
            *_followed(node, resident),
        ),
    )


def _followed(node: Node, resident: Resident) -> tuple[tuple[str, str], ...]:
    """Return what the CDI spec depends on, and when to retry a spec that could not be made."""
    found = dict(node.installer.cdi.followed())
    wait = resident.cdi_retry(node.settings.lifecycle.reconcile_interval)
    if found and wait:
        # Not at once, and over and over: what was not looked at counts from now on.
        found |= {each: state_of(each) for each, state in found.items() if state == NOT_LOOKED_AT}
        found[f"{RETRY}{wait}"] = ""
    return tuple((entry, keeper.FOLLOWED + state) for entry, state in found.items())


def found_right(node: Node, record: Record | None, watch: Watch) -> tuple[tuple[str, str], ...]:
    """Return the engine's files that a watch has found right, each with its signature."""
    places = signatures(node, record)
    return tuple((path, mark) for path, mark in watch.files if path in places and mark != UNKNOWN)


def engine_root(node: Node, peer: str) -> str:
    """Return where this process sees the root directory of a peer; empty where it is not known."""
    if not peer.isdecimal() or peer == SYSTEMD_PEER:
        return ""
    return f"{node.root.proc}/{peer}/root"


def verified_peer(node: Node, outcome: Outcome) -> str:
    """Return the PID that listens, if it is the process that was verified."""
    found, known = peer(node, outcome.record), outcome.process
    if known is not None and found not in (str(known.pid), SYSTEMD_PEER):
        return UNVERIFIED
    return found


def peer(node: Node, record: Record | None) -> str:
    """Return the PID that listens on the engine's socket, as the keeper sees it."""
    path = socket(node, record)
    return keeper.peer_of(path, greeting_of(record)) if path else keeper.DOWN


def socket(node: Node, record: Record | None) -> str:
    """Return the engine's socket as this process opens it; empty where none is watched."""
    if record is None or record.engine is None or not record.socket or not record.reloads:
        return ""
    return node.root.access(record.socket)


def program(node: Node) -> tuple[str, ...]:
    """Return the program that stays resident: the keeper, or in NRI mode the plugin."""
    settings = node.settings
    if not settings.nri.enabled:
        return (keeper.SCRIPT,)
    from toolkit.daemon import nri

    path = node.root.access(node.root.host_path(settings.nri.socket))
    return nri.program(settings, socket_path=path)
