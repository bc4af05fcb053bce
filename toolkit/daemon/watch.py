"""What the keeper watches and answers, from the journal and the state of the node."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from toolkit import logs
from toolkit.apply.begin import Outcome
from toolkit.daemon import observe
from toolkit.daemon.drift import executed, greeting_of, watched
from toolkit.daemon.keeper_state import Resident, Watch
from toolkit.daemon.lock_and_ready import Presence
from toolkit.host.followed import RETRY, UNKNOWN, state_of
from toolkit.journal.record import Record
from toolkit.node import Node

AWAY = "cannot restart the installer (REASON); retrying"
STUCK = (
    "cannot start the installer to revert (REASON); the engine's config still holds the "
    "handlers, start the program again to take over or run its command `revert`"
)
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
    *,
    peer: str,
    answers: tuple[str, str, str, str, str],
) -> Watch:
    """Return what the keeper watches.

    ``earlier`` has the signatures from before a setup looked at the files; None where it failed.
    Without the right CDI spec the node is not ready either. ``answers`` are those to probes.
    """
    now, retry_at = time.monotonic(), resident.retry_at
    pid_file = resident.lock_path
    lack, nri = node.installer.cdi.state.lack, node.settings.nri.enabled
    return Watch(
        interval=node.settings.lifecycle.reconcile_interval,
        rest=max(0.0, resident.not_before - now),
        retry=-1.0 if retry_at is None else max(0.0, retry_at - now),
        ready=not lack and (earlier is not None or nri),
        ready_file=presence.ready_file,
        feature_file=presence.feature_file,
        socket=socket(node, record),
        peer=peer,
        greeting=greeting_of(record),
        files=((pid_file, observe.signature(pid_file)), *watched(node, record, earlier)),
        programs=executed(node, record, _engine_root(node, peer), verified=earlier is not None),
        followed=_followed(node, resident),
        listener_fd=resident.listener_fd,
        answers=answers,
        away=logs.template("program.away", AWAY),
        stuck=logs.template("program.stuck", STUCK),
        command=(sys.executable, *sys.orig_argv[1:]),
        arguments=tuple(sys.argv),
        search_path=tuple(filter(None, sys.path)),
        nri=_nri_settings(node),
    )


def _followed(node: Node, resident: Resident) -> tuple[tuple[str, str], ...]:
    """Return what the CDI spec depends on, and when to retry a spec that could not be made."""
    found = dict(node.installer.cdi.followed())
    wait = resident.cdi_retry(node.settings.lifecycle.reconcile_interval)
    if found and wait:
        # Not at once, and over and over: what was not looked at counts from now on.
        found |= {each: state_of(each) for each, state in found.items() if state == UNKNOWN}
        found[f"{RETRY}{wait}"] = ""
    return tuple(found.items())


def _engine_root(node: Node, peer: str) -> str:
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
    return observe.peer_of(path, greeting_of(record)) if path else observe.DOWN


def socket(node: Node, record: Record | None) -> str:
    """Return the engine's socket as this process opens it; empty where none is watched."""
    if record is None or record.engine is None or not record.socket or not record.reloads:
        return ""
    return node.root.access(record.socket)


def _nri_settings(node: Node) -> dict[str, Any] | None:
    """Return the settings of the NRI plugin; None in the other modes."""
    settings = node.settings
    if not settings.nri.enabled:
        return None
    from toolkit.daemon import nri

    path = node.root.access(node.root.host_path(settings.nri.socket))
    return nri.plugin_settings(settings, socket_path=path)
