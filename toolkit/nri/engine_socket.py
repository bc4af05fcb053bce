"""One connected socket: moves bytes between the engine and a session, and enforces deadlines."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Sequence

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


Decide = Callable[[CreateContainerRequest], Sequence[str]]


class EngineSocket:
    """Serves one connection until either side closes it."""

    def __init__(
        self,
        connected: socket.socket,
        session: Session,
        *,
        decide: Decide,
        wakeup: int,
        stopping: Callable[[], bool],
        on_registered: Callable[[], None],
        clock: Clock,
        log: Reporter,
    ) -> None:
        """Take a non-blocking socket; ``decide`` returns the CDI devices of a container.

        ``wakeup`` is an event descriptor (eventfd) that interrupts the wait for the engine.
        """
        self._socket = connected
        self._session = session
        self._decide = decide
        self._wakeup = wakeup
        self._stopping = stopping
        self._on_registered = on_registered
        self._clock = clock
        self._log = log
        self._announced = False
        self._register_by = clock.now() + REGISTRATION_TIMEOUT
        self._buffer = bytearray(_RECEIVE_BYTES)

    def serve(self) -> str:
        """Serve until the connection ends; return the reason, empty if we closed it.

        Raises OSError and NriProtocolError if the connection breaks.
        """
        leave_by: float | None = None
        while True:
            if leave_by is None and self._stopping():
                leave_by = self._clock.now() + LEAVE_TIMEOUT
            if leave_by is not None and (self._idle() or self._clock.now() >= leave_by):
                self._leave()
                return ""
            if not self._step(leave_by):
                return "the engine closed the connection"

    def _step(self, leave_by: float | None) -> bool:
        self._flush()
        readable = self._wait(leave_by)
        if readable and not self._receive():
            return False
        if self._session.registered and not self._announced:
            self._announced = True
            self._on_registered()
        if not self._announced and self._clock.now() >= self._register_by:
            raise NriProtocolError(
                f"the engine did not register the plugin within {REGISTRATION_TIMEOUT:.0f} s"
            )
        return True

    def _wait(self, leave_by: float | None) -> bool:
        poller = select.poll()
        poller.register(self._wakeup, select.POLLIN)
        wanted = select.POLLIN | (select.POLLOUT if self._session.outgoing else 0)
        poller.register(self._socket.fileno(), wanted)
        ends = [] if self._announced else [self._register_by]
        ends += [] if leave_by is None else [leave_by]
        timeout = max(0.0, min(ends) - self._clock.now()) * 1000 + 1 if ends else None
        ready = dict(poller.poll(timeout))
        if self._wakeup in ready:
            os.eventfd_read(self._wakeup)
        return bool(ready.get(self._socket.fileno(), 0) & ~select.POLLOUT)

    def _receive(self) -> bool:
        try:
            size = self._socket.recv_into(self._buffer)
        except BlockingIOError:
            return True
        if size == 0:
            return False
        for creation in self._session.receive(memoryview(self._buffer)[:size]):
            self._session.answer(creation.stream, self._devices(creation.request))
        self._flush()
        return True

    def _devices(self, request: CreateContainerRequest) -> Sequence[str]:
        """Return a container's devices; an error of ours must not stop its creation."""
        try:
            return self._decide(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the engine waits for an answer
            self._log.error(
                "nri.container_without_devices",
                f"container created without CDI devices: {error!r}",
                pod=pod_name(request),
                container=request.container.name,
            )
            return ()

    def _flush(self) -> None:
        outgoing = self._session.outgoing
        try:
            while outgoing:
                sent = self._socket.send(outgoing, socket.MSG_NOSIGNAL)
                del outgoing[:sent]
        except BlockingIOError:
            return  # the rest goes when the engine has read

    def _idle(self) -> bool:
        """Return whether no call is open in either direction."""
        if self._session.open_calls or self._session.outgoing:
            return False
        poller = select.poll()
        poller.register(self._socket.fileno(), select.POLLIN)
        return not poller.poll(0)

    def _leave(self) -> None:
        """Close our direction first, then wait for the engine to close its own.

        Closing with unread bytes would reset the connection, which the engine logs as an error.
        """
        self._socket.shutdown(socket.SHUT_WR)
        self._socket.settimeout(LEAVE_TIMEOUT)
        end = self._clock.now() + LEAVE_TIMEOUT
        while self._clock.now() < end and self._socket.recv(_RECEIVE_BYTES):
            pass


def pod_name(request: CreateContainerRequest) -> str:
    """Return ``namespace/name`` of a request's pod."""
    return f"{request.pod.namespace}/{request.pod.name}" if request.HasField("pod") else "unknown"
