"""containerd's own API: version, plugins, and the containers of all namespaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from msgspec import Struct

from toolkit.engine.protos import (
    containerd_containers_pb2,
    containerd_introspection_pb2,
    containerd_namespaces_pb2,
    containerd_tasks_pb2,
    containerd_version_pb2,
    linux_runc_options_pb2,
    runc_options_pb2,
)
from toolkit.engine.rpc import Connection

if TYPE_CHECKING:
    from google.protobuf.any_pb2 import Any

_API = "/containerd.services"
_KIND = "io.cri-containerd.kind"
"""The label that the CRI plugin sets on a pod's containers and sandbox."""
_CRI_PLUGINS = ("cri", "runtime", "images")
"""Plugins without which no pod runs: ``cri``, and in 2.x the two parts it was split into."""
_CRI_TYPES = ("io.containerd.grpc.v1", "io.containerd.cri.v1")


class RunningContainer(Struct, frozen=True, kw_only=True):
    """One container, running or stopped, and the binary that its runtime options name."""

    identifier: str
    name: str
    of_cri: bool
    """It belongs to a pod, or is a pod's sandbox."""
    sandbox: str
    """The pod's sandbox; empty if it has none or it is not known."""
    pid: int
    """PID of its task; 0 if it has none: then the engine deletes it without the binary."""
    binary: str
    """Empty if the options name none."""
    options: bytes
    """The bytes of options of an unknown kind; else empty."""


class ContainerdClient:
    """containerd's API over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def version(self) -> str:
        """Return the version as containerd prints it. Raises RpcError."""
        method = f"{_API}.version.v1.Version/Version"
        response = containerd_version_pb2.VersionResponse
        return self._connection.call(method, Empty(), response).version

    def cri_error(self) -> str | None:
        """Return why the CRI plugin could not be loaded; None if it was. Raises RpcError."""
        answer = self._connection.call(
            f"{_API}.introspection.v1.Introspection/Plugins",
            containerd_introspection_pb2.PluginsRequest(),
            containerd_introspection_pb2.PluginsResponse,
        )
        for plugin in answer.plugins:
            is_cri = plugin.id in _CRI_PLUGINS and plugin.type in _CRI_TYPES
            if is_cri and plugin.init_err.message:
                return f"{plugin.type}.{plugin.id}: {plugin.init_err.message}"
        return None

    def containers(self, sandboxes: Mapping[str, str]) -> tuple[RunningContainer, ...]:
        """Return the containers of all namespaces. Raises RpcError.

        ``sandboxes`` maps each container to its pod's sandbox, as listed by the CRI.
        """
        namespaces = self._connection.call(
            f"{_API}.namespaces.v1.Namespaces/List",
            containerd_namespaces_pb2.ListNamespacesRequest(),
            containerd_namespaces_pb2.ListNamespacesResponse,
        )
        return tuple(
            container
            for namespace in namespaces.namespaces
            for container in self._of_namespace(namespace.name, sandboxes)
        )

    def executed(self, namespace: str, container: str) -> str | None:
        """Return the low-level runtime that a container's shim received; None if not known.

        containerd passes the options from the container's record to the shim. Without a binary the
        shim looks up ``runc``. Raises RpcError.
        """
        for each in self._listed(namespace, f"id=={container}"):
            binary = _binary(each.runtime.options)
            runc = each.runtime.name.startswith("io.containerd.runc.")
            return "runc" if binary == "" and runc else binary or None
        return None

    def _of_namespace(
        self, namespace: str, sandboxes: Mapping[str, str]
    ) -> tuple[RunningContainer, ...]:
        listed = self._listed(namespace)
        # Tasks last: a container whose task starts in between is listed with it.
        tasks = self._connection.call(
            f"{_API}.tasks.v1.Tasks/List",
            containerd_tasks_pb2.ListTasksRequest(),
            containerd_tasks_pb2.ListTasksResponse,
            metadata=(("containerd-namespace", namespace),),
        )
        pids = {each.id: each.pid for each in tasks.tasks}
        return tuple(
            _container(namespace, each, pids.get(each.id, 0), sandboxes) for each in listed
        )

    def _listed(
        self, namespace: str, *filters: str
    ) -> tuple[containerd_containers_pb2.Container, ...]:
        answer = self._connection.call(
            f"{_API}.containers.v1.Containers/List",
            containerd_containers_pb2.ListContainersRequest(filters=filters),
            containerd_containers_pb2.ListContainersResponse,
            metadata=(("containerd-namespace", namespace),),
        )
        return tuple(answer.containers)


def _container(
    namespace: str,
    container: containerd_containers_pb2.Container,
    pid: int,
    sandboxes: Mapping[str, str],
) -> RunningContainer:
    labels = container.labels
    pod = labels.get("io.kubernetes.pod.name")
    shown = f"{namespace}/{container.id[:12]}"
    if pod:
        part = labels.get("io.kubernetes.container.name", "sandbox")
        shown += f" ({labels.get('io.kubernetes.pod.namespace', '')}/{pod}, {part})"
    binary = _binary(container.runtime.options)
    sandbox = sandboxes.get(container.id, "")
    unknown = container.runtime.options.value if binary is None else b""
    return RunningContainer(
        identifier=container.id,
        name=shown,
        of_cri=_KIND in labels,
        sandbox=container.id if labels.get(_KIND) == "sandbox" else sandbox,
        pid=pid,
        binary=binary or "",
        options=unknown,
    )


def _binary(options: Any) -> str | None:
    """Return the low-level runtime's path; None for options of an unknown kind."""
    kind = options.type_url.rpartition("/")[2]
    try:
        if kind == "containerd.runc.v1.Options":
            return runc_options_pb2.Options.FromString(options.value).binary_name
        if kind == "containerd.linux.runc.RuncOptions":
            return linux_runc_options_pb2.RuncOptions.FromString(options.value).runtime
    except DecodeError:
        return None
    return None if options.value else ""
