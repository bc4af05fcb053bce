"""What the fuzzers of the NRI plugin run: one input is everything that an engine ever sends.

The first byte says how much of the framing is put right, so that mutations reach the inner layers
too: 0 raw bytes, 1 a multiplexer's payload, 2 a ttrpc request's data, 3 a CreateContainerRequest,
4 the answer to RegisterPlugin, 5 a pod's annotation.
"""

from __future__ import annotations

from struct import pack

from toolkit.nri.devices import MANAGEMENT_KIND, Policy, decide
from toolkit.nri.frames import MAX_DATA
from toolkit.nri.multiplexer import NriProtocolError
from toolkit.nri.protos.nri_pb2 import Container, CreateContainerRequest, PodSandbox
from toolkit.nri.protos.ttrpc_pb2 import Request
from toolkit.nri.session import MAX_OUTGOING, PLUGIN_SERVICE, Session

SHAPES = 6
MOST_HELD = 2 * (MAX_DATA + 10) + MAX_OUTGOING
"""Bytes: an unfinished frame on each of the two connections, and what the engine does not read."""
POLICY = Policy(
    management_kinds=frozenset({MANAGEMENT_KIND}), namespaces=frozenset({"gpu-operator"})
)


def held(session: Session) -> int:
    """Return the bytes of unfinished frames, and those that the engine has not read."""
    frames = session._plugin.frames.held + session._replies.held
    return frames + len(session.outgoing)


def run_session(data: bytes) -> int:
    """Feed an input to a session and answer what it asks; return the number of containers.

    Raises AssertionError where a promise is broken; any other error is a mistake of ours.
    """
    session = Session(7, lambda _reason: None)
    asked = 0
    rest = memoryview(_shaped(data))
    size = 1 + (data[-1] if data else 0)
    try:
        while rest:
            creations, rest = session.receive(rest[:size]), rest[size:]
            for creation in creations:
                asked += 1
                pod, container = creation.request.pod, creation.request.container
                decision = decide(pod, container, POLICY)
                assert not any(
                    name.startswith(f"{MANAGEMENT_KIND}=") for name in decision.devices
                ) or (pod.namespace == "gpu-operator")
                session.answer(creation.stream, decision.devices)
            assert held(session) <= MOST_HELD
            assert session.open_calls == 0
    except NriProtocolError:
        pass  # the connection is dropped and made again
    return asked


def _shaped(data: bytes) -> bytes:
    shape, body = (data[0] % SHAPES, data[1:]) if data else (0, b"")
    match shape:
        case 1:
            return _muxed(1, body)
        case 2:
            return _muxed(1, _framed(1, body))
        case 3:
            return _creation(body)
        case 4:
            return _muxed(2, _framed(2, body))
        case 5:
            name, _, value = body.partition(b"\n")
            pod = PodSandbox(
                namespace="default",
                annotations={
                    "nvidia.cdi.k8s.io": value.decode(errors="replace"),
                    "nvidia.cdi.k8s.io/container." + name.decode(errors="replace"): "a/b=c",
                },
            )
            request = CreateContainerRequest(pod=pod, container=Container(name="main"))
            return _creation(request.SerializeToString())
    return body


def _creation(payload: bytes) -> bytes:
    request = Request(service=PLUGIN_SERVICE, method="CreateContainer", payload=payload)
    return _muxed(1, _framed(1, request.SerializeToString()))


def _framed(frame_type: int, data: bytes) -> bytes:
    return pack(">IIBB", len(data), 1, frame_type, 0) + data


def _muxed(connection: int, data: bytes) -> bytes:
    return pack(">II", connection, len(data)) + data
