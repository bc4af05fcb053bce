"""How long a probe and a stop take while silent clients hold the health address."""

from __future__ import annotations

import http.client
import socket
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.figures import Figure, Series
from benchmarks.subject import Place, Subject

SECTION = "probes"
ROUNDS = 5
SILENT = 1000
AIM = 1000.0
"""Milliseconds, the kubelet's default time limit for a probe."""


def measure(directory: Path, payload: Path, subject: Subject) -> list[Figure]:
    """Probe and stop a daemon, alone and with silent connections, in turn."""
    place = Place(directory=directory, payload=payload, subject=subject)
    times: dict[str, list[float]] = {"probe": [], "stop": [], "bare probe": [], "bare stop": []}
    for _ in range(ROUNDS):
        for kind, number in (("bare ", 0), ("", SILENT)):
            place.write_config()
            port = _free_port()
            process = place.daemon(TOOLKIT_HEALTH_ADDRESS=f"127.0.0.1:{port}")
            with ExitStack() as stack:
                for _ in range(number):
                    stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                times[f"{kind}probe"].append(_probe(port) * 1000)
                times[f"{kind}stop"].append(place.stop(process) * 1000)
    note = f"with {SILENT} silent connections"
    return [
        Figure(
            section=SECTION,
            measured=Series(name=name, unit="ms", values=tuple(times[key])),
            baseline=Series(name="without any", unit="ms", values=tuple(times[f"bare {key}"])),
            aim=AIM,
            note=note,
        )
        for key, name in (
            ("probe", f"/healthz {note}"),
            ("stop", f"SIGTERM to exit {note}"),
        )
    ]


def _probe(port: int) -> float:
    began = time.perf_counter()
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    client.request("GET", "/healthz")
    if client.getresponse().status != http.client.OK:
        raise RuntimeError("/healthz did not answer 200")
    client.close()
    return time.perf_counter() - began


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
