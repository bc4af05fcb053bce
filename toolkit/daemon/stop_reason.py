"""Why this process is stopped, which decides what happens to the setup.

First comes the host's own shutdown, then what the cluster reports of our DaemonSet. The table with
all cases is in docs/upgrade.md.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Struct

from toolkit import logs
from toolkit.errors import ToolkitError
from toolkit.host.shutdown import HostState, host_state
from toolkit.node import Node
from toolkit.settings import OnExit, OnExitUnknown

if TYPE_CHECKING:
    from toolkit.daemon.api_server import ApiServer, OurPod

log = logs.get(__name__)

SECONDS = 1.0
"""The limit in total: the files must be restored soon after SIGTERM."""
HOST_SECONDS = 0.5
"""The share of it for a systemd that hangs; the cluster is asked meanwhile."""


class Cluster(Enum):
    """What the cluster reports of our DaemonSet."""

    NONE = "this is no pod of a cluster"
    GOES_ON = "its DaemonSet goes on and selects this node"
    DESELECTED = "its DaemonSet does not select this node any more"
    GONE = "its DaemonSet is deleted"
    UNKNOWN = "the cluster can't say whether its DaemonSet goes on"


class StopDecision(Struct, frozen=True, kw_only=True):
    """What the end of this process does to the node, and why."""

    reverts: bool
    reason: str
    how: str
    found: bool = True
    """False: the reason is not known, and ``--on-exit-unknown`` has decided."""


def decide(host: HostState, cluster: Cluster, how: str, otherwise: OnExitUnknown) -> StopDecision:
    """Decide from what was found. A host shutdown comes first, whatever the cluster reports.

    ``how`` says how the cluster's report was found out.
    """
    if host.going_down:
        reason = "the host or its engine is going down"
        return StopDecision(reverts=False, reason=reason, how=host.how)
    reverts, reason = cluster is not Cluster.GOES_ON, cluster.value
    found = cluster is not Cluster.UNKNOWN
    if not found:
        reverts = otherwise is OnExitUnknown.REVERT
        reason += f"; --on-exit-unknown says {otherwise}"
    return StopDecision(reverts=reverts, reason=reason, how=f"{host.how}; {how}", found=found)


def reverts(node: Node, environment: Mapping[str, str]) -> bool:
    """Find out why this process is stopped and log it; return whether the setup is reverted."""
    took = logs.stopwatch()
    decision = find_out(node, environment)
    action = "reverting" if decision.reverts else "keeping the setup"
    message = f"{action}: {decision.reason}"
    if decision.found:
        log.step("daemon.stop_reason", message, how=decision.how, seconds=took())
    else:
        log.warning("daemon.stop_reason", message, how=decision.how, seconds=took())
    return decision.reverts


def find_out(node: Node, environment: Mapping[str, str]) -> StopDecision:
    """Return the decision of ``--on-exit``; ``auto`` looks for the reason for up to ``SECONDS``."""
    life = node.settings.lifecycle
    if life.on_exit is not OnExit.AUTO:
        reverts = life.on_exit is OnExit.REVERT
        return StopDecision(reverts=reverts, reason=f"--on-exit={life.on_exit}", how="set by flag")
    began = time.monotonic()
    asked = _Asked(environment, began + SECONDS)
    host = host_state(node.commands, _unit(node), began + HOST_SECONDS)
    return decide(host, *asked.answer(), life.on_exit_unknown)


def _unit(node: Node) -> str | None:
    """Return the engine's unit; None where no engine with a unit is set up."""
    try:
        record = node.store.load()
    except ToolkitError:
        return None
    if record is None or record.engine is None:
        return None
    return record.unit or f"{record.engine}.service"


class _Asked:
    """The question to the cluster, asked while the host is looked at.

    In a thread, since a server that sends byte after byte would outlive every time-out of a socket.
    """

    def __init__(self, environment: Mapping[str, str], deadline: float) -> None:
        self._deadline = deadline
        self._answer = Cluster.UNKNOWN, "the API server took too long"
        self._thread = threading.Thread(target=self._ask, args=(environment,), daemon=True)
        self._thread.start()

    def answer(self) -> tuple[Cluster, str]:
        """Return the answer; wait for it until the deadline."""
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        return self._answer

    def _ask(self, environment: Mapping[str, str]) -> None:
        try:
            self._answer = ask_cluster(environment, self._deadline)
        except Exception as error:  # noqa: BLE001 - an object of no known form; it is told below
            how = f"what the API server sends can't be read: {error!r}"
            self._answer = Cluster.UNKNOWN, how


def ask_cluster(
    environment: Mapping[str, str],
    deadline: float,
    account: str = "/var/run/secrets/kubernetes.io/serviceaccount",
) -> tuple[Cluster, str]:
    """Ask the API server whether our DaemonSet stays and selects this node.

    Returns what it reports, and how that was found out. ``account`` is where the kubelet mounts the
    pod's token and the cluster's CA.
    """
    if not environment.get("KUBERNETES_SERVICE_HOST"):
        return Cluster.NONE, "KUBERNETES_SERVICE_HOST is not set"
    from toolkit.daemon.api_server import ApiServer, NoAnswerError, OurPod
    from toolkit.daemon.node_selection import UnknownRuleError

    try:
        pod = OurPod.from_environment(environment)
        server = ApiServer(pod, deadline, account)
        try:
            return _answer_of(server, pod)
        finally:
            server.close()
    except (NoAnswerError, UnknownRuleError) as error:
        return Cluster.UNKNOWN, str(error)


def _answer_of(server: ApiServer, pod: OurPod) -> tuple[Cluster, str]:
    """Ask for the DaemonSet, then the node. Raises NoAnswerError, UnknownRuleError."""
    from toolkit.daemon.node_selection import needs_node, selects

    name = f"DaemonSet {pod.namespace}/{pod.daemon_set}"
    daemon_set = server.daemon_set(pod)
    if daemon_set is None:
        return Cluster.GONE, f"the API server has no {name}"
    if daemon_set["metadata"].get("deletionTimestamp"):
        return Cluster.GONE, f"the API server is deleting {name}"
    if needs_node(daemon_set):
        node = server.node(pod)
        if node is None:
            return Cluster.DESELECTED, f"the API server has no node {pod.node}"
        reason = selects(daemon_set, node)
        if reason:
            return Cluster.DESELECTED, f"{reason}: {name}, node {pod.node}"
    return Cluster.GOES_ON, f"the API server has {name}, node {pod.node}"
