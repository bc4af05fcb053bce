"""One connection to the engine's NRI socket, without the socket: bytes in, bytes out.

The handshake needs no caller: the plugin registers, the engine configures and synchronizes it. The
caller answers container creations in time, one answer each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from toolkit.nri.messages import (
    CREATE_CONTAINER_MASK,
    PLUGIN_SERVICE,
    RUNTIME_SERVICE,
    Code,
    MessageError,
    decode,
)
from toolkit.nri.multiplexer import Channel, Demultiplexer, NriProtocolError, multiplex
from toolkit.nri.protos.nri_pb2 import (
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
from toolkit.nri.ttrpc import Call, ClientSide, ServerSide

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
class Identity:
    """How the plugin introduces itself."""

    name: str
    index: int
    """Plugins are called in ascending order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """How the engine introduces itself."""

    name: str
    version: str
    request_timeout: float
    """Seconds; 0 if not reported, as before NRI 0.7, which has no CDI devices either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """A container creation that waits for an answer."""

    stream: int
    request: CreateContainerRequest


class Session:
    """The state of one connection."""

    def __init__(self, identity: Identity, on_error: Callable[[str], None]) -> None:
        """``on_error`` is called for a request that was answered without being understood."""
        self._incoming = Demultiplexer()
        self._plugin = ServerSide()
        self._runtime = ClientSide()
        self._on_error = on_error
        self._accepted = False
        self._synchronized = False
        self._outgoing = bytearray()
        self.engine: Engine | None = None
        """None until the engine configures the plugin."""
        register = RegisterPluginRequest(
            plugin_name=identity.name, plugin_idx=f"{identity.index:02d}"
        )
        _, data = self._runtime.call(RUNTIME_SERVICE, "RegisterPlugin", register)
        self._send(Channel.RUNTIME, data)

    @property
    def registered(self) -> bool:
        """Whether the engine has registered the plugin and calls it for every new container."""
        return self._accepted and self._synchronized

    @property
    def open_calls(self) -> int:
        """Number of calls that wait for our answer."""
        return self._plugin.open_calls

    @property
    def held(self) -> int:
        """Bytes buffered for unfinished frames and for an engine that does not read."""
        return self._plugin.held + self._runtime.held + len(self._outgoing)

    @property
    def outgoing(self) -> bytearray:
        """Bytes to send; the caller removes from the front what it has sent."""
        return self._outgoing

    def receive(self, data: bytes | memoryview) -> Sequence[Creation]:
        """Process bytes from the socket; return the container creations to answer.

        Raises NriProtocolError if the connection cannot continue.
        """
        creations: list[Creation] = []
        for connection, piece in self._incoming.feed(data):
            if connection == Channel.PLUGIN:
                for call in self._plugin.feed(piece):
                    creations.extend(self._handle(call))
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
        if len(self._outgoing) + len(frames) > MAX_OUTGOING:
            raise NriProtocolError("the engine does not read our answers")
        self._outgoing += frames

    def _take_replies(self, piece: memoryview) -> None:
        try:
            for reply in self._runtime.feed(piece):
                if reply.code != Code.OK:
                    raise NriProtocolError(f"the engine refuses the plugin: {reply.message}")
                self._accepted = True
        except MessageError as error:
            raise NriProtocolError(f"the engine's answer can't be read: {error.message}") from error

    def _handle(self, call: Call) -> Sequence[Creation]:
        if call.service == PLUGIN_SERVICE and call.method == "CreateContainer":
            return self._create_container(call)
        self._send(Channel.PLUGIN, self._control(call))
        return ()

    def _create_container(self, call: Call) -> Sequence[Creation]:
        # An error status would fail the container, so the answer is an empty adjustment.
        if self._plugin.busy:
            self._on_error("too many containers at once; one was created without devices")
        else:
            try:
                request = decode(CreateContainerRequest, call.payload)
            except MessageError as error:
                self._on_error(
                    f"an invalid request; the container gets no devices: {error.message}"
                )
            else:
                return (Creation(stream=call.stream, request=request),)
        self.answer(call.stream, ())
        return ()

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
        request = decode(ConfigureRequest, call.payload)
        self.engine = Engine(
            name=request.runtime_name,
            version=request.runtime_version,
            request_timeout=max(0, request.request_timeout) / 1000,
        )
        subscribed = ConfigureResponse(events=CREATE_CONTAINER_MASK)
        return self._plugin.answer(call.stream, subscribed)

    def _unknown(self, call: Call) -> bytes:
        reason = f"{call.service}/{call.method} is not served here"
        return self._plugin.fail(call.stream, Code.UNIMPLEMENTED, reason[:200])
