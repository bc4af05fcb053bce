"""An engine's side of an NRI socket, for what a real one can't be made to do.

Its framing is apart from the product's; the messages are those of the protobuf runtime.
"""

from __future__ import annotations

import socket
from pathlib import Path
from struct import pack, unpack
from typing import Any

from toolkit.nri.protos import nri_pb2, ttrpc_pb2

nri: Any = nri_pb2
ttrpc: Any = ttrpc_pb2

PLUGIN, RUNTIME = 1, 2
REQUEST, RESPONSE = 1, 2


def muxed(connection: int, data: bytes) -> bytes:
    """Return one frame of the multiplexer."""
    return pack(">II", connection, len(data)) + data


def framed(stream: int, kind: int, data: bytes) -> bytes:
    """Return one frame of ttrpc."""
    return pack(">IIBB", len(data), stream, kind, 0) + data


def call(stream: int, method: str, message: Any = None, timeout: float = 2.0) -> bytes:  # noqa: ANN401
    """Return a call of the Plugin service as it goes over the socket."""
    request = ttrpc.Request(
        service="nri.pkg.api.v1alpha1.Plugin",
        method=method,
        payload=message.SerializeToString() if message is not None else b"",
        timeout_nano=int(timeout * 1e9),
    )
    return muxed(PLUGIN, framed(stream, REQUEST, request.SerializeToString()))


def creation(
    annotations: dict[str, str] | None = None, namespace: str = "default", container: str = "main"
) -> Any:  # noqa: ANN401
    """Return a CreateContainerRequest."""
    pod = nri.PodSandbox(id="p1", name="pod", namespace=namespace, annotations=annotations or {})
    return nri.CreateContainerRequest(pod=pod, container=nri.Container(id="c1", name=container))


def devices(response: Any) -> list[str]:  # noqa: ANN401
    """Return the CDI devices in the answer to CreateContainer."""
    answer = nri.CreateContainerResponse.FromString(response.payload)
    return [device.name for device in answer.adjust.CDI_devices]


def messages(data: bytes) -> list[tuple[int, int, int, Any]]:
    """Take apart what the plugin sent: connection, stream, frame type, envelope."""
    streams: dict[int, bytes] = {}
    found = []
    while data:
        connection, size = unpack(">II", data[:8])
        streams[connection] = streams.get(connection, b"") + data[8 : 8 + size]
        data = data[8 + size :]
        while len(buffered := streams[connection]) >= 10:
            length, stream, kind, _ = unpack(">IIBB", buffered[:10])
            if len(buffered) < 10 + length:
                break
            body, streams[connection] = buffered[10 : 10 + length], buffered[10 + length :]
            envelope = ttrpc.Request if kind == REQUEST else ttrpc.Response
            found.append((connection, stream, kind, envelope.FromString(body)))
    return found


def realistic(annotations: dict[str, str]) -> Any:  # noqa: ANN401 - a message of the dynamic module
    """Return a request as large as a real one: what is not declared is skipped, but travels."""
    request = creation(annotations)
    padding = b"\x42\x40" + b"NAME=" + b"v" * 59  # Container.env, 8
    container = request.container.SerializeToString() + padding * 300
    pod = request.pod.SerializeToString()
    whole = b"\x0a" + _length(pod) + pod + b"\x12" + _length(container) + container
    return nri.CreateContainerRequest.FromString(whole)


def _length(data: bytes) -> bytes:
    size, out = len(data), b""
    while size > 127:
        out, size = out + bytes([size & 127 | 128]), size >> 7
    return out + bytes([size])


class FakeEngine:
    """Listens on a socket and takes one plugin after the other."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.settimeout(10)
        self.plugin = socket.socket()
        self._unread: list[tuple[int, int, int, Any]] = []
        self._next_stream = 1
        self.registration: Any = None

    def accept(self) -> None:
        """Take a plugin that connects, without a word."""
        self.plugin.close()
        self.plugin, _ = self._listener.accept()
        self.plugin.settimeout(10)
        self._unread.clear()
        self._next_stream = 1

    def register(self, *, request_timeout: float = 2.0) -> None:
        """Take a plugin that connects through registration, configuration and synchronization."""
        self.accept()
        _, stream, _, request = self.read()
        self.registration = nri.RegisterPluginRequest.FromString(request.payload)
        self.send(muxed(RUNTIME, framed(stream, RESPONSE, b"")))
        configure = nri.ConfigureRequest(
            runtime_name="containerd",
            runtime_version="v2.1.9",
            registration_timeout=5000,
            request_timeout=int(request_timeout * 1000),
        )
        self.ask("Configure", configure)
        self.ask("Synchronize", nri.SynchronizeRequest())

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.plugin.sendall(data)

    def ask(self, method: str, message: Any = None, timeout: float = 2.0) -> Any:  # noqa: ANN401
        """Call the plugin and return the envelope of its answer."""
        stream = self.begin(method, message, timeout)
        while True:
            connection, answered, _, envelope = self.read()
            if (connection, answered) == (PLUGIN, stream):
                return envelope

    def begin(self, method: str, message: Any = None, timeout: float = 2.0) -> int:  # noqa: ANN401
        """Call the plugin without waiting; return the stream."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self.send(call(stream, method, message, timeout))
        return stream

    def read(self) -> tuple[int, int, int, Any]:
        """Return the plugin's next message; raises EOFError where it has ended the connection."""
        while not self._unread:
            header = self._exactly(8)
            self._unread = messages(header + self._exactly(unpack(">II", header)[1]))
        return self._unread.pop(0)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.plugin.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def drop(self) -> None:
        """End the connection, as a dying engine does."""
        self.plugin.close()

    def close(self) -> None:
        """End everything."""
        self.plugin.close()
        self._listener.close()
