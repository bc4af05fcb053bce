"""One connection to the engine's NRI socket, without the socket: bytes in, bytes out.

The handshake needs no caller: the plugin registers, the engine configures and synchronizes it. The
caller answers container creations in time, one answer each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from toolkit.nri.frames import FrameReader, FrameType
from toolkit.nri.multiplexer import Channel, Demultiplexer, NriProtocolError, multiplex
from toolkit.nri.protos.nri_pb2 import (
    CREATE_CONTAINER,
    CDIDevice,
    ConfigureRequest,
    ConfigureResponse,
    ContainerAdjustment,
    CreateContainerRequest,
    CreateContainerResponse,
    Empty,
    RegisterPluginRequest,
    SynchronizeRequest,
    SynchronizeResponse,
)
from toolkit.nri.protos.ttrpc_pb2 import Response
from toolkit.nri.ttrpc import Call, Code, MessageError, ServerSide, call_frame, decode

PLUGIN_NAME = "nvidia-toolkit"
RUNTIME_SERVICE = "nri.pkg.api.v1alpha1.Runtime"
PLUGIN_SERVICE = "nri.pkg.api.v1alpha1.Plugin"
CREATE_CONTAINER_MASK = 1 << (CREATE_CONTAINER - 1)
"""The event's bit in the Configure response."""
_REGISTRATION = 1
"""The stream of our only call."""
MAX_OUTGOING = 1 << 20
"""Maximum number of unsent bytes; above it the engine has stopped reading."""
_NOTHING_TO_CHANGE = frozenset(
    {
        "Shutdown",
        "RunPodSandbox",
        "UpdatePodSandbox",
        "PostUpdatePodSandbox",
        "StopPodSandbox",
        "RemovePodSandbox",
        "PostCreateContainer",
        "StartContainer",
        "PostStartContainer",
        "UpdateContainer",
        "PostUpdateContainer",
        "StopContainer",
        "RemoveContainer",
        "StateChange",
        "ValidateContainerAdjustment",
    }
)
"""Calls of the Plugin service for which an empty response means "nothing to change". We subscribe
to none of them, but an engine that calls anyway must not wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """A container creation that waits for an answer."""

    stream: int
    request: CreateContainerRequest


class Session:
    """The state of one connection."""

    def __init__(self, index: int, on_error: Callable[[str], None]) -> None:
        """Plugins are called in ascending order of their ``index``.

        ``on_error`` is called for a request that was answered without being understood.
        """
        self._incoming = Demultiplexer()
        self._plugin = ServerSide()
        self._replies = FrameReader()
        self._on_error = on_error
        self._accepted = False
        self._synchronized = False
        self.outgoing = bytearray()
        """Bytes to send; the caller removes from the front what it has sent."""
        self.engine: ConfigureRequest | None = None
        """How the engine introduces itself; None until it configures the plugin."""
        register = RegisterPluginRequest(plugin_name=PLUGIN_NAME, plugin_idx=f"{index:02d}")
        call = call_frame(_REGISTRATION, RUNTIME_SERVICE, "RegisterPlugin", register)
        self._send(Channel.RUNTIME, call)

    @property
    def registered(self) -> bool:
        """Whether the engine has registered the plugin and calls it for every new container."""
        return self._accepted and self._synchronized

    @property
    def open_calls(self) -> int:
        """Number of calls that wait for our answer."""
        return self._plugin.open_calls

    def receive(self, data: bytes | memoryview) -> Sequence[Creation]:
        """Process bytes from the socket; return the container creations to answer.

        Raises NriProtocolError if the connection cannot continue.
        """
        creations: list[Creation] = []
        for connection, piece in self._incoming.feed(data):
            if connection == Channel.PLUGIN:
                for call in self._plugin.feed(piece):
                    if (call.service, call.method) != (PLUGIN_SERVICE, "CreateContainer"):
                        self._send(Channel.PLUGIN, self._control(call))
                    elif (creation := self._creation(call)) is not None:
                        creations.append(creation)
                self._send(Channel.PLUGIN, self._plugin.refusals())
            elif connection == Channel.RUNTIME:
                self._take_replies(piece)
        return creations

    def answer(self, stream: int, devices: Sequence[str]) -> None:
        """Answer a creation; a second answer to the same one is dropped."""
        response = CreateContainerResponse()
        if devices:
            named = [CDIDevice(name=name) for name in devices]
            response.adjust.CopyFrom(ContainerAdjustment(CDI_devices=named))
        self._send(Channel.PLUGIN, self._plugin.answer(stream, response))

    def _send(self, connection: Channel, data: bytes) -> None:
        frames = multiplex(connection, data)
        if len(self.outgoing) + len(frames) > MAX_OUTGOING:
            raise NriProtocolError("the engine does not read our answers")
        self.outgoing += frames

    def _take_replies(self, piece: memoryview) -> None:
        """Take the answer to the registration; others, and further ones, are dropped."""
        for received in self._replies.feed(piece):
            answers_us = (received.type, received.stream) == (FrameType.RESPONSE, _REGISTRATION)
            if not answers_us or self._accepted:
                continue
            if received.oversized:
                raise NriProtocolError("the engine's answer is larger than ttrpc allows")
            try:
                status = decode(Response, memoryview(received.data)).status
            except MessageError as error:
                reason = f"the engine's answer can't be read: {error.message}"
                raise NriProtocolError(reason) from error
            if status.code != Code.OK:
                raise NriProtocolError(f"the engine refuses the plugin: {status.message}")
            self._accepted = True

    def _creation(self, call: Call) -> Creation | None:
        """Return what the caller answers; None for a call that is answered here."""
        # An error status would fail the container, so the answer is an empty adjustment.
        if self._plugin.busy:
            self._on_error("too many containers at once; one was created without devices")
        else:
            try:
                request = decode(CreateContainerRequest, call.payload)
                return Creation(stream=call.stream, request=request)
            except MessageError as error:
                self._on_error(
                    f"an invalid request; the container gets no devices: {error.message}"
                )
        self.answer(call.stream, ())
        return None

    def _control(self, call: Call) -> bytes:
        try:
            if call.service != PLUGIN_SERVICE:
                return self._unknown(call)
            if call.method == "Configure":
                return self._configure(call)
            if call.method == "Synchronize":
                more = decode(SynchronizeRequest, call.payload).more
                self._synchronized = not more
                return self._plugin.answer(call.stream, SynchronizeResponse(more=more))
        except MessageError as error:
            return self._plugin.fail(call.stream, Code.INVALID_ARGUMENT, error.message)
        if call.method in _NOTHING_TO_CHANGE:
            return self._plugin.answer(call.stream, Empty())
        return self._unknown(call)

    def _configure(self, call: Call) -> bytes:
        self.engine = decode(ConfigureRequest, call.payload)
        subscribed = ConfigureResponse(events=CREATE_CONTAINER_MASK)
        return self._plugin.answer(call.stream, subscribed)

    def _unknown(self, call: Call) -> bytes:
        reason = f"{call.service}/{call.method} is not served here"
        return self._plugin.fail(call.stream, Code.UNIMPLEMENTED, reason[:200])
