"""``/healthz``, ``/readyz`` and ``/metrics``: texts prepared here and served by the keeper.

Off by default, and then nothing of this is imported. While the daemon works, a thread answers with
the same code, so that a probe never hangs.
"""

from __future__ import annotations

import os
import socket
import threading

from toolkit.daemon.keeper_state import Counters
from toolkit.daemon.probes import Probes
from toolkit.errors import UsageError
from toolkit.logs import one_line
from toolkit.version import VERSION

BACKLOG = 1024
"""Connections that the kernel queues. It drops more than that; the client retries after a second.
"""


def open_listener(address: str, source: str) -> int:
    """Listen on ``host:port`` and return the descriptor.

    Raises UsageError that names ``source``, the flag or variable, where the address is in use.
    """
    host, _, port = address.rpartition(":")
    families = [socket.AF_INET6 if ":" in host else socket.AF_INET]
    if not host:
        families = [socket.AF_INET6, socket.AF_INET]
    for family in families:
        try:
            return socket.create_server(
                (host.strip("[]"), int(port)),
                family=family,
                backlog=BACKLOG,
                dualstack_ipv6=not host
                and family is socket.AF_INET6
                and socket.has_dualstack_ipv6(),
            ).detach()
        except OSError as error:
            failure = error
    raise UsageError(
        f"{source} {address}: {failure.strerror or failure}", "choose another address or port"
    ) from failure


def answers(counters: Counters, state: str, reason: str = "") -> tuple[str, str, str, str, str]:
    """Return the bodies that the keeper serves, ready and not; ``reason`` says why not."""
    return (
        "ok\n",
        f"{state}\n",
        f"not ready: {one_line(reason)}\n" if reason else "not ready\n",
        metrics(counters, state),
        metrics(counters, "degraded"),
    )


def metrics(counters: Counters, state: str) -> str:
    """Return the metrics in Prometheus' text format."""
    rows = (
        (
            "state",
            "gauge",
            "State of the installer, 1 for the one it is in.",
            f'{{state="{state}"}}',
            1,
        ),
        ("setup_seconds", "gauge", "Duration of the last setup.", "", counters.setup_seconds),
        (
            "engine_downtime_seconds",
            "gauge",
            "How long the engine's socket refused at the last reload.",
            "",
            counters.downtime_seconds,
        ),
        ("reloads_total", "counter", "Reloads of the engine.", "", counters.reloads),
        ("repairs_total", "counter", "Drifts that were repaired.", "", counters.repairs),
        ("rollbacks_total", "counter", "Changes that were undone.", "", counters.rollbacks),
        (
            "cdi_specs_total",
            "counter",
            "CDI specs written or removed since the start.",
            "",
            counters.cdi_specs,
        ),
        ("build_info", "gauge", "Version of the installer.", f'{{version="{VERSION}"}}', 1),
    )
    lines = []
    for name, kind, text, labels, value in rows:
        full = f"nvidia_toolkit_{name}"
        lines += [f"# HELP {full} {text}", f"# TYPE {full} {kind}", f"{full}{labels} {value:g}"]
    return "\n".join(lines) + "\n"


class Responder:
    """Answers probes from a thread while the daemon works: alive and not ready."""

    def __init__(self, listener: int, counters: Counters) -> None:
        self._listener = listener
        self._probes = Probes(listener, list(answers(counters, "working")))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Leave the socket to the next responder."""
        self._stopped.set()
        self._thread.join()

    def end(self) -> None:
        """Close the socket: a successor listens on it as soon as it has the lock."""
        self.stop()
        os.close(self._listener)

    def _run(self) -> None:
        while not self._stopped.wait(self._probes.turn(False)):  # noqa: FBT003 - takes no keywords
            pass
        self._probes.close()
