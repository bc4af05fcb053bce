"""One connected socket: moves bytes between the engine and a session, and enforces deadlines."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event

from toolkit.host.clock import Clock
from toolkit.nri.multiplexer import NriProtocolError
from toolkit.nri.protos.nri_pb2 import CreateContainerRequest
from toolkit.nri.reporter import Reporter
from toolkit.nri.session import Session

REGISTRATION_TIMEOUT = 30.0
"""Seconds. The engine registers plugins one by one and waits 5 s for a silent one; this is several
times that."""
LEAVE_TIMEOUT = 1.0
"""Seconds for open calls, and again for the engine to close its end, when the plugin stops."""
_RECEIVE_BYTES = 64 << 10

Choose = Callable[[CreateContainerRequest], Sequence[str]]


@dataclass(slots=True, kw_only=True)
class EngineSocket:
    """Serves one connection until either side closes it."""

    connected: socket.socket
    """Non-blocking."""
    session: Session
    choose: Choose
    """Returns the CDI devices of a container."""
    wakeup: int
    """An event descriptor (eventfd) that interrupts the wait for the engine."""
    stopping: Event
    on_registered: Callable[[], None]
    clock: Clock
    log: Reporter
    _announced: bool = field(default=False, init=False)
    _register_by: float = field(init=False)
    _buffer: bytearray = field(init=False)

    def __post_init__(self) -> None:
        self._register_by = self.clock.now() + REGISTRATION_TIMEOUT
        self._buffer = bytearray(_RECEIVE_BYTES)

    def serve(self) -> str:
        """Serve until the connection ends; return the reason, empty if we closed it.

        Raises OSError and NriProtocolError if the connection breaks.
        """
        leave_by: float | None = None
        while True:
            if leave_by is None and self.stopping.is_set():
                leave_by = self.clock.now() + LEAVE_TIMEOUT
            if leave_by is not None and (self._idle() or self.clock.now() >= leave_by):
                self._leave()
                return ""
            if not self._step(leave_by):
                return "the engine closed the connection"

    def _step(self, leave_by: float | None) -> bool:
        self._flush()
        readable = self._wait(leave_by)
        if readable and not self._receive():
            return False
        if self.session.registered and not self._announced:
            self._announced = True
            self.on_registered()
        if not self._announced and self.clock.now() >= self._register_by:
            raise NriProtocolError(
                f"the engine did not register the plugin within {REGISTRATION_TIMEOUT:.0f} s"
            )
        return True

    def _wait(self, leave_by: float | None) -> bool:
        poller = select.poll()
        poller.register(self.wakeup, select.POLLIN)
        wanted = select.POLLIN | (select.POLLOUT if self.session.outgoing else 0)
        poller.register(self.connected.fileno(), wanted)
        ends = [] if self._announced else [self._register_by]
        ends += [] if leave_by is None else [leave_by]
        timeout = max(0.0, min(ends) - self.clock.now()) * 1000 + 1 if ends else None
        ready = dict(poller.poll(timeout))
        if self.wakeup in ready:
            os.eventfd_read(self.wakeup)
        return bool(ready.get(self.connected.fileno(), 0) & ~select.POLLOUT)

    def _receive(self) -> bool:
        try:
            size = self.connected.recv_into(self._buffer)
        except BlockingIOError:
            return True
        if size == 0:
            return False
        for creation in self.session.receive(memoryview(self._buffer)[:size]):
            self.session.answer(creation.stream, self._devices(creation.request))
        return True

    def _devices(self, request: CreateContainerRequest) -> Sequence[str]:
        """Return a container's devices; an error of ours must not stop its creation."""
        try:
            return self.choose(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the engine waits for an answer
            self.log.error(
                "nri.container_without_devices",
                f"container created without CDI devices: {error!r}",
                pod=pod_name(request),
                container=request.container.name,
            )
            return ()

    def _flush(self) -> None:
        outgoing = self.session.outgoing
        try:
            while outgoing:
                sent = self.connected.send(outgoing, socket.MSG_NOSIGNAL)
                del outgoing[:sent]
        except BlockingIOError:
            return  # the rest goes when the engine has read

    def _idle(self) -> bool:
        """Return whether no call is open in either direction."""
        if self.session.open_calls or self.session.outgoing:
            return False
        poller = select.poll()
        poller.register(self.connected.fileno(), select.POLLIN)
        return not poller.poll(0)

    def _leave(self) -> None:
        """Close our direction first, then wait for the engine to close its own.

        Closing with unread bytes would reset the connection, which the engine logs as an error.
        """
        self.connected.shutdown(socket.SHUT_WR)
        self.connected.settimeout(LEAVE_TIMEOUT)
        end = self.clock.now() + LEAVE_TIMEOUT
        while self.clock.now() < end and self.connected.recv(_RECEIVE_BYTES):
            pass


def pod_name(request: CreateContainerRequest) -> str:
    """Return ``namespace/name`` of a request's pod."""
    return f"{request.pod.namespace}/{request.pod.name}" if request.HasField("pod") else "unknown"
