"""The NRI plugin: keeps a connection to the engine and gives containers their CDI devices.

Beside the thread that waits for signals, one thread talks to the engine and one writes the log.
Signals are blocked in all of them; only the clock of the first takes them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from socket import AF_UNIX, SOCK_STREAM
from socket import socket as new_socket

from toolkit import logs
from toolkit.errors import ToolkitError
from toolkit.host.clock import SystemClock
from toolkit.nri.devices import MANAGEMENT_KIND, DeviceChoice, Policy, decide
from toolkit.nri.engine_socket import EngineSocket, pod_name
from toolkit.nri.protos.nri_pb2 import Container, CreateContainerRequest, PodSandbox
from toolkit.nri.reporter import Reporter
from toolkit.nri.session import PLUGIN_NAME, Session

SHORTEST_WAIT = 0.1
LONGEST_WAIT = 5.0
"""Seconds. A node whose engine restarts waits at most this long for its GPU devices."""
_STOP_TIMEOUT = 5.0
"""Seconds for the threads to exit; longer than leaving takes."""
_LISTED_NAMES = 10
"""Maximum number of device names in a log line; an annotation may hold thousands."""


class NriState(StrEnum):
    """Whether the engine calls the plugin for new containers."""

    CONNECTING = "connecting"
    REGISTERED = "registered"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class NriStatus:
    """The plugin's state, as ``status`` and ``/readyz`` show it."""

    state: NriState
    socket: str
    engine: str = ""
    """Name and version that the engine reported when it last registered the plugin."""
    reason: str = ""
    """Why the plugin is not registered."""
    registrations: int = 0
    """How often the engine has registered the plugin."""

    @property
    def ready(self) -> bool:
        """Whether the plugin is registered and connected."""
        return self.state is NriState.REGISTERED


class Plugin:
    """The plugin with its threads; call ``start``, then ``stop``, once each."""

    def __init__(
        self,
        *,
        index: int,
        namespaces: frozenset[str],
        cdi_kind: str,
        socket: str,
        socket_path: str,
        on_state: Callable[[NriStatus], None] = lambda _status: None,
        log: logs.Log | None = None,
        decide_devices: Callable[[PodSandbox, Container, Policy], DeviceChoice] = decide,
    ) -> None:
        """``namespaces`` may use management devices; ``socket`` is a host path.

        ``socket_path`` is the engine's NRI socket as this process opens it.

        ``on_state`` is called at each change, in order, from a thread that nothing waits for.
        """
        self._index = index
        self._policy = Policy(
            management_kinds=frozenset({MANAGEMENT_KIND, cdi_kind}),
            namespaces=namespaces,
        )
        self._path = socket_path
        self._on_state = on_state
        self._decide_devices = decide_devices
        self._reporter = Reporter(log or logs.get(__name__))
        self._thread = threading.Thread(target=self._run, name="nri-engine", daemon=True)
        self._status = NriStatus(state=NriState.CONNECTING, socket=socket)
        self._stopping = threading.Event()
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._logged_reason = ""

    @property
    def status(self) -> NriStatus:
        """The current state; may be read from any thread."""
        return self._status

    def start(self) -> None:
        """Start connecting, and keep reconnecting; returns at once."""
        self._reporter.start()
        self._report(self._status)
        self._thread.start()

    def stop(self) -> None:
        """Answer open calls, unregister and stop the threads."""
        self._stopping.set()
        os.eventfd_write(self._wakeup, 1)
        self._thread.join(_STOP_TIMEOUT)
        self._set_state(NriState.STOPPED, "")
        self._reporter.close(_STOP_TIMEOUT)

    def _run(self) -> None:
        waits = retry_waits()
        while not self._stopping.is_set():
            before = self._status.registrations
            try:
                reason = self._connect_and_serve()
            except (OSError, ToolkitError) as error:
                reason = str(error)
            except Exception as error:  # noqa: BLE001 - our own error costs a connection, not the plugin
                self._reporter.error("nri.failed", "the plugin failed", error=repr(error))
                reason = repr(error)
            if self._stopping.is_set():
                return
            if self._status.registrations != before:
                waits = retry_waits()
                self._logged_reason = ""
            self._log_disconnect(reason)
            self._set_state(NriState.CONNECTING, reason)
            self._stopping.wait(next(waits))

    def _connect_and_serve(self) -> str:
        with new_socket(AF_UNIX, SOCK_STREAM) as connected:
            # A blocking connect to a hung engine, which accepts no connection, would wait forever.
            connected.setblocking(False)  # noqa: FBT003 - the socket's own signature
            connected.connect(self._path)
            session = Session(self._index, self._report_error)
            served = EngineSocket(
                connected=connected,
                session=session,
                choose=self._devices_for,
                wakeup=self._wakeup,
                stopping=self._stopping,
                on_registered=lambda: self._registered(session),
                clock=SystemClock(),
                log=self._reporter,
            )
            return served.serve()

    def _registered(self, session: Session) -> None:
        engine = session.engine
        name = f"{engine.runtime_name} {engine.runtime_version}".strip() if engine else ""
        self._status = replace(
            self._status, engine=name, registrations=self._status.registrations + 1
        )
        self._reporter.step(
            "nri.registered",
            "registered with the engine",
            engine=name,
            plugin=f"{self._index:02d}-{PLUGIN_NAME}",
        )
        # Reported since NRI 0.7, which has CDI devices too.
        if engine is None or engine.request_timeout <= 0:
            self._reporter.warning(
                "nri.engine_too_old",
                "the engine's NRI is older than 0.7 and does not support CDI devices, so containers"
                " get none; use containerd 2.0 or later",
                engine=name,
            )
        self._set_state(NriState.REGISTERED, "")

    def _set_state(self, state: NriState, reason: str) -> None:
        status = replace(self._status, state=state, reason=reason)
        if status != self._status:
            self._status = status
            self._report(status)

    def _report(self, status: NriStatus) -> None:
        self._reporter.call(lambda: self._on_state(status))

    def _log_disconnect(self, reason: str) -> None:
        """Log once why there is no connection, not at every attempt."""
        if reason != self._logged_reason:
            self._logged_reason = reason
            self._reporter.warning(
                "nri.disconnected",
                "not connected to the engine's NRI socket, retrying",
                socket=self._path,
                reason=reason,
            )

    def _report_error(self, reason: str) -> None:
        self._reporter.error("nri.container_without_devices", reason)

    def _devices_for(self, request: CreateContainerRequest) -> Sequence[str]:
        decision = self._decide_devices(request.pod, request.container, self._policy)
        if decision.annotation is not None:
            self._log_decision(request, decision)
        return decision.devices

    def _log_decision(self, request: CreateContainerRequest, decision: DeviceChoice) -> None:
        """Log the devices that a pod gets, and those that it is refused."""
        who = {
            "pod": pod_name(request),
            "container": request.container.name,
            "annotation": decision.annotation,
        }
        if decision.not_allowed:
            self._reporter.warning(
                "nri.management_device_refused",
                "management device left out: the pod's namespace may not have it; allow it with"
                " --nri-management-cdi-device-namespaces",
                **who,
                devices=_listed(decision.not_allowed),
            )
        if decision.invalid:
            self._reporter.warning(
                "nri.invalid_device_name",
                "left out what is not a CDI device name (vendor/class=name)",
                **who,
                names=_listed(decision.invalid),
            )
        if decision.devices:
            self._reporter.step(
                "nri.devices_added", "CDI devices added", **who, devices=_listed(decision.devices)
            )


def retry_waits() -> Iterator[float]:
    """Yield the seconds before each further attempt to connect; they double up to a limit."""
    wait = SHORTEST_WAIT
    while True:
        yield wait
        wait = min(LONGEST_WAIT, wait * 2)


def _listed(names: Sequence[str]) -> list[str]:
    shown = [name[:200] for name in names[:_LISTED_NAMES]]
    return shown if len(names) <= _LISTED_NAMES else [*shown, f"and {len(names) - len(shown)} more"]
