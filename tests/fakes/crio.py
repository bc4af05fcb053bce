"""A CRI-O that is made of answers: Debian has none to run.

Like the real one it serves the CRI and its HTTP status on one socket, distinguished by what the
client says first.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from google.protobuf.message import Message

from toolkit.engine.protos import cri_pb2

_SERVICE = "runtime.v1.RuntimeService"


@dataclass(slots=True, kw_only=True)
class FakeCrio:
    """What it answers."""

    config: str
    """The TOML that ``crio status config`` prints."""
    handlers: tuple[str, ...] = ("", "crun")
    pods: dict[str, str | None] = field(default_factory=dict)
    """Pod name to the handler that it asked for; None: it goes while it is asked about."""
    ready: bool = True
    asked: list[cri_pb2.RunPodSandboxRequest] = field(default_factory=list)
    trials: list[str] = field(default_factory=list)
    """Sandboxes of ``asked`` that are there."""
    containers: dict[int, bool] = field(default_factory=dict)
    """PID of a container to whether it is reported as running."""

    @contextmanager
    def serving(self, path: Path) -> Iterator[None]:
        """Serve on a socket."""
        inner = path.with_suffix(".grpc")
        server = grpc.server(ThreadPoolExecutor(4))
        server.add_generic_rpc_handlers((self._handlers(),))
        server.add_insecure_port(f"unix:{inner}")
        server.start()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(16)
            thread = threading.Thread(target=self._accept, args=(listener, inner))
            thread.start()
            try:
                yield
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()
                server.stop(None).wait()

    def _handlers(self) -> grpc.GenericRpcHandler:
        def method(
            request: type[Message], answer: Callable[[], Message]
        ) -> grpc.RpcMethodHandler[Message, Message]:
            return grpc.unary_unary_rpc_method_handler(
                lambda _request, _context: answer(),
                request_deserializer=request.FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )

        return grpc.method_handlers_generic_handler(
            _SERVICE,
            {
                "Version": method(cri_pb2.VersionRequest, self._version),
                "Status": method(cri_pb2.StatusRequest, self._status),
                "ListPodSandbox": grpc.unary_unary_rpc_method_handler(
                    self._sandboxes,
                    request_deserializer=cri_pb2.ListPodSandboxRequest.FromString,
                    response_serializer=lambda message: message.SerializeToString(),
                ),
                "RunPodSandbox": grpc.unary_unary_rpc_method_handler(
                    self._run,
                    request_deserializer=cri_pb2.RunPodSandboxRequest.FromString,
                    response_serializer=lambda message: message.SerializeToString(),
                ),
                "StopPodSandbox": method(
                    cri_pb2.StopPodSandboxRequest, cri_pb2.StopPodSandboxResponse
                ),
                "RemovePodSandbox": grpc.unary_unary_rpc_method_handler(
                    self._remove,
                    request_deserializer=cri_pb2.RemovePodSandboxRequest.FromString,
                    response_serializer=lambda message: message.SerializeToString(),
                ),
                "ListContainers": method(cri_pb2.ListContainersRequest, self._list),
                "ContainerStatus": grpc.unary_unary_rpc_method_handler(
                    self._container,
                    request_deserializer=cri_pb2.ContainerStatusRequest.FromString,
                    response_serializer=lambda message: message.SerializeToString(),
                ),
                "PodSandboxStatus": grpc.unary_unary_rpc_method_handler(
                    self._sandbox,
                    request_deserializer=cri_pb2.PodSandboxStatusRequest.FromString,
                    response_serializer=lambda message: message.SerializeToString(),
                ),
            },
        )

    def _version(self) -> Message:
        return cri_pb2.VersionResponse(runtime_name="cri-o", runtime_version="1.36.3")

    def _status(self) -> Message:
        condition = cri_pb2.RuntimeCondition(type="RuntimeReady", status=self.ready)
        return cri_pb2.StatusResponse(
            status=cri_pb2.RuntimeStatus(conditions=[condition]),
            runtime_handlers=[cri_pb2.RuntimeHandler(name=name) for name in self.handlers],
        )

    def _run(
        self, request: cri_pb2.RunPodSandboxRequest, context: grpc.ServicerContext
    ) -> cri_pb2.RunPodSandboxResponse:
        self.asked.append(request)
        if request.runtime_handler not in self.handlers:
            context.abort(grpc.StatusCode.UNKNOWN, "failed to find runtime handler")
        identifier = f"trial{len(self.asked)}"
        self.trials.append(identifier)
        return cri_pb2.RunPodSandboxResponse(pod_sandbox_id=identifier)

    def _remove(
        self, request: cri_pb2.RemovePodSandboxRequest, _context: grpc.ServicerContext
    ) -> cri_pb2.RemovePodSandboxResponse:
        self.trials.remove(request.pod_sandbox_id)
        return cri_pb2.RemovePodSandboxResponse()

    def _sandboxes(
        self, request: cri_pb2.ListPodSandboxRequest, _context: grpc.ServicerContext
    ) -> Message:
        if request.filter.label_selector:
            items = [cri_pb2.PodSandbox(id=each) for each in self.trials]
            return cri_pb2.ListPodSandboxResponse(items=items)
        return cri_pb2.ListPodSandboxResponse(
            items=[
                cri_pb2.PodSandbox(
                    id=f"{name}-0123456789abcdef",
                    metadata=cri_pb2.PodSandboxMetadata(name=name, namespace="default"),
                )
                for name in self.pods
            ]
        )

    def _list(self) -> Message:
        return cri_pb2.ListContainersResponse(
            containers=[
                cri_pb2.Container(
                    id=f"{pid}",
                    state=cri_pb2.CONTAINER_RUNNING if running else cri_pb2.CONTAINER_CREATED,
                )
                for pid, running in self.containers.items()
            ]
        )

    def _container(
        self, request: cri_pb2.ContainerStatusRequest, _context: grpc.ServicerContext
    ) -> cri_pb2.ContainerStatusResponse:
        info = {"sandboxID": "0", "pid": int(request.container_id)}
        return cri_pb2.ContainerStatusResponse(info={"info": json.dumps(info)})

    def _sandbox(
        self, request: cri_pb2.PodSandboxStatusRequest, context: grpc.ServicerContext
    ) -> cri_pb2.PodSandboxStatusResponse:
        """Answer as 1.36.3 does: the handler stands in the spec alone."""
        handler = self.pods[request.pod_sandbox_id.partition("-")[0]]
        if handler is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "could not find pod")
        annotations = {} if handler == "?" else {"io.kubernetes.cri-o.RuntimeHandler": handler}
        spec = {"runtimeSpec": {"annotations": annotations}}
        return cri_pb2.PodSandboxStatusResponse(info={"info": json.dumps(spec)})

    def _accept(self, listener: socket.socket, inner: Path) -> None:
        workers: list[threading.Thread] = []
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                break
            workers.append(threading.Thread(target=self._serve, args=(connection, inner)))
            workers[-1].start()
        for worker in workers:
            worker.join()

    def _serve(self, connection: socket.socket, inner: Path) -> None:
        with connection:
            first = connection.recv(4096)
            if first.startswith(b"GET /config "):
                body = self.config.encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
                connection.sendall(head.encode() + body)
            elif first.startswith(b"PRI "):
                with socket.socket(socket.AF_UNIX) as server:
                    server.connect(str(inner))
                    server.sendall(first)
                    back = threading.Thread(target=_copy, args=(server, connection))
                    back.start()
                    _copy(connection, server)
                    back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Copy until the source ends or breaks, then end the target."""
    with suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
