"""A client of the Kubernetes container runtime interface, for containerd and CRI-O."""

from __future__ import annotations

import contextlib
import json

from google.protobuf.message import Message
from msgspec import Struct

from toolkit.engine.facts import Lack
from toolkit.engine.protos import cri_pb2
from toolkit.engine.rpc import Connection, Response, RpcError

_SERVICE = "/runtime.v1.RuntimeService"


class CriStatus(Struct, frozen=True, kw_only=True):
    """What the runtime reports about itself."""

    lack: Lack | None
    """Why it is not ready; None if it is."""
    config: bytes | None
    """``info["config"]`` of a verbose status: the CRI section that the engine uses."""
    handlers: frozenset[str] | None
    """The handlers listed by name (containerd 2.0, CRI-O 1.30 and later); None if none are."""


class PodSandbox(Struct, frozen=True, kw_only=True):
    """One pod's sandbox."""

    id: str
    name: str
    handler: str
    """Empty for the default handler, or if the engine does not list it (CRI-O 1.36.3 never
    does)."""


class CriContainer(Struct, frozen=True, kw_only=True):
    """One container of a pod."""

    identifier: str
    sandbox: str
    started: bool
    """False until the engine reports that it was started."""
    running: bool


class CriClient:
    """The CRI over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def version(self) -> tuple[str, str]:
        """Return the runtime's name and version. Raises RpcError."""
        answer = self._call("Version", cri_pb2.VersionRequest(), cri_pb2.VersionResponse)
        return answer.runtime_name, answer.runtime_version

    def status(self) -> CriStatus:
        """Return the verbose status. Raises RpcError."""
        request = cri_pb2.StatusRequest(verbose=True)
        answer = self._call("Status", request, cri_pb2.StatusResponse)
        conditions = [item for item in answer.status.conditions if item.type == "RuntimeReady"]
        config = answer.info.get("config")
        names = frozenset(handler.name for handler in answer.runtime_handlers)
        reasons = "; ".join(item.message or item.reason for item in conditions if not item.status)
        ready = any(item.status for item in conditions)
        return CriStatus(
            lack=None if ready else Lack(reason=f"the runtime is not ready: {reasons}"),
            config=config.encode() if config else None,
            handlers=names - {""} if names else None,
        )

    def sandboxes(self, label: tuple[str, str] | None = None) -> tuple[PodSandbox, ...]:
        """Return every pod sandbox (with a label), running or not. Raises RpcError."""
        chosen = cri_pb2.PodSandboxFilter(label_selector=dict([label] if label else []))
        request = cri_pb2.ListPodSandboxRequest(filter=chosen)
        answer = self._call("ListPodSandbox", request, cri_pb2.ListPodSandboxResponse)
        return tuple(
            PodSandbox(
                id=item.id,
                name=f"{item.metadata.namespace}/{item.metadata.name} ({item.id[:12]})",
                handler=item.runtime_handler,
            )
            for item in answer.items
        )

    def run_sandbox(
        self,
        handler: str,
        *,
        name: str,
        namespace: str,
        uid: str,
        label: tuple[str, str],
        cgroup_parent: str,
    ) -> str:
        """Start a sandbox with a handler, empty for the default one; return its ID.

        It is in the host's network, and has its own PID namespace: CRI-O starts no process for a
        sandbox that shares the node's or a container's (internal/lib/sandbox: NeedsInfra).
        ``cgroup_parent`` is a slice, or a directory of cgroupfs; empty leaves the choice to the
        engine. Raises RpcError.
        """
        namespaces = cri_pb2.NamespaceOption(network=cri_pb2.NODE, pid=cri_pb2.POD)
        config = cri_pb2.PodSandboxConfig(
            metadata=cri_pb2.PodSandboxMetadata(name=name, uid=uid, namespace=namespace),
            labels=dict([label]),
            linux=cri_pb2.LinuxPodSandboxConfig(
                cgroup_parent=cgroup_parent,
                security_context=cri_pb2.LinuxSandboxSecurityContext(namespace_options=namespaces),
            ),
        )
        request = cri_pb2.RunPodSandboxRequest(config=config, runtime_handler=handler)
        return self._call("RunPodSandbox", request, cri_pb2.RunPodSandboxResponse).pod_sandbox_id

    def remove_sandbox(self, sandbox: str) -> None:
        """Stop and remove a sandbox; a missing one is not an error. Raises RpcError."""
        stop = cri_pb2.StopPodSandboxRequest(pod_sandbox_id=sandbox)
        # A sandbox that cannot be stopped in order is removed by force.
        with contextlib.suppress(RpcError):
            self._call("StopPodSandbox", stop, cri_pb2.StopPodSandboxResponse)
        remove = cri_pb2.RemovePodSandboxRequest(pod_sandbox_id=sandbox)
        self._call("RemovePodSandbox", remove, cri_pb2.RemovePodSandboxResponse)

    def sandbox_info(self, sandbox: str) -> bytes | None:
        """Return the engine's own description of a sandbox (JSON). Raises RpcError."""
        request = cri_pb2.PodSandboxStatusRequest(pod_sandbox_id=sandbox, verbose=True)
        answer = self._call("PodSandboxStatus", request, cri_pb2.PodSandboxStatusResponse)
        info = answer.info.get("info")
        return info.encode() if info else None

    def containers(self) -> tuple[CriContainer, ...]:
        """Return every container, running or not. Raises RpcError."""
        request = cri_pb2.ListContainersRequest()
        answer = self._call("ListContainers", request, cri_pb2.ListContainersResponse)
        return tuple(
            CriContainer(
                identifier=item.id,
                sandbox=item.pod_sandbox_id,
                started=item.state != cri_pb2.CONTAINER_CREATED,
                running=item.state == cri_pb2.CONTAINER_RUNNING,
            )
            for item in answer.containers
        )

    def container_pid(self, identifier: str) -> int | None:
        """Return the PID, as the engine counts, of a container's first process; None: not reported.

        containerd and CRI-O have it in ``info["info"]``, a JSON object. Raises RpcError.
        """
        request = cri_pb2.ContainerStatusRequest(container_id=identifier, verbose=True)
        answer = self._call("ContainerStatus", request, cri_pb2.ContainerStatusResponse)
        try:
            pid = json.loads(answer.info.get("info", "{}")).get("pid")
        except (ValueError, AttributeError):
            return None
        return pid if isinstance(pid, int) and pid > 0 else None

    def _call(self, method: str, request: Message, response: type[Response]) -> Response:
        return self._connection.call(f"{_SERVICE}/{method}", request, response)
