"""containerd's own API: version, plugins, and the containers of all namespaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from msgspec import Struct

from toolkit.engine.protos import (
    containerd_containers_pb2 as containers_pb2,
)
from toolkit.engine.protos import (
    containerd_introspection_pb2 as introspection_pb2,
)
from toolkit.engine.protos import (
    containerd_namespaces_pb2 as namespaces_pb2,
)
from toolkit.engine.protos import (
    containerd_tasks_pb2 as tasks_pb2,
)
from toolkit.engine.protos import (
    containerd_version_pb2 as version_pb2,
)
from toolkit.engine.protos import (
    linux_runc_options_pb2,
    runc_options_pb2,
)
from toolkit.engine.rpc import Caller

if TYPE_CHECKING:
    from google.protobuf.any_pb2 import Any

_API = "/containerd.services"
_KIND = "io.cri-containerd.kind"
"""The label of a pod's containers and of its sandbox (containerd's CRI plugin sets it)."""
_CRI_PLUGINS = ("cri", "runtime", "images")
"""Plugins without which no pod runs: ``cri``, and in 2.x the two that it was split into."""


class RunningContainer(Struct, frozen=True, kw_only=True):
    """One container, running or stopped, and the binary that its runtime options name."""

    identifier: str
    name: str
    of_cri: bool
    """It belongs to a pod, or is the sandbox of one."""
    sandbox: str
    """The pod's sandbox; empty: it is of none, or that is not known."""
    pid: int
    """Of its task; 0: it has none, so that the engine deletes it without the binary."""
    binary: str
    """Empty: the options name none."""
    options: bytes
    """The options' bytes of a kind that is not known here; else empty."""


class ContainerdClient:
    """containerd's API over one connection."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def version(self) -> str:
        """Return the version as containerd prints it. Raises RpcError."""
        method = f"{_API}.version.v1.Version/Version"
        return self._caller.call(method, Empty(), version_pb2.VersionResponse).version

    def cri_error(self) -> str | None:
        """Return why the CRI plugin could not be loaded; None where it was. Raises RpcError."""
        answer = self._caller.call(
            f"{_API}.introspection.v1.Introspection/Plugins",
            introspection_pb2.PluginsRequest(),
            introspection_pb2.PluginsResponse,
        )
        for plugin in answer.plugins:
            if plugin.id in _CRI_PLUGINS and _is_cri(plugin.type) and plugin.init_err.message:
                return f"{plugin.type}.{plugin.id}: {plugin.init_err.message}"
        return None

    def containers(self, sandboxes: Mapping[str, str]) -> tuple[RunningContainer, ...]:
        """Return the containers of all namespaces. Raises RpcError.

        ``sandboxes`` has the pod's sandbox of each container, as the CRI lists them.
        """
        namespaces = self._caller.call(
            f"{_API}.namespaces.v1.Namespaces/List",
            namespaces_pb2.ListNamespacesRequest(),
            namespaces_pb2.ListNamespacesResponse,
        )
        return tuple(
            container
            for namespace in namespaces.namespaces
            for container in self._of_namespace(namespace.name, sandboxes)
        )

    def executed(self, namespace: str, container: str) -> str | None:
        """Return the low-level runtime that a container's shim was given; None: it does not say.

        containerd hands the options over to the shim as they stand in the container's record.
        Without a binary the shim looks up ``runc``. Raises RpcError.
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
        # The tasks last: a container that gets its task in between is seen with it.
        tasks = self._caller.call(
            f"{_API}.tasks.v1.Tasks/List",
            tasks_pb2.ListTasksRequest(),
            tasks_pb2.ListTasksResponse,
            metadata=(("containerd-namespace", namespace),),
        )
        pids = {each.id: each.pid for each in tasks.tasks}
        return tuple(
            _container(namespace, each, pids.get(each.id, 0), sandboxes) for each in listed
        )

    def _listed(self, namespace: str, *filters: str) -> tuple[containers_pb2.Container, ...]:
        answer = self._caller.call(
            f"{_API}.containers.v1.Containers/List",
            containers_pb2.ListContainersRequest(filters=filters),
            containers_pb2.ListContainersResponse,
            metadata=(("containerd-namespace", namespace),),
        )
        return tuple(answer.containers)


def _is_cri(kind: str) -> bool:
    """Whether a plugin of this type can be the CRI plugin or one of its parts."""
    return kind in ("io.containerd.grpc.v1", "io.containerd.cri.v1")


def _container(
    namespace: str,
    container: containers_pb2.Container,
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
