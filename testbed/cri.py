"""Runs pods over CRI and asks what it serves; apart from the product's own client on purpose."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from testbed.images import BUSYBOX_IMAGE
from testbed.supervised import wait_for

pods: Any = grpc.protos("testbed/pods.proto")
NODE = 2
"""NamespaceMode: the node's own namespace."""
EXITED = 2
_serial = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What CRI says of its handlers, from the effective config in the verbose status."""

    handlers: Mapping[str, str]
    """Handler name to ``BinaryName``; empty where the engine's default binary is used."""
    default: str
    config: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod with one container."""

    sandbox_id: str
    container_id: str
    log_file: Path


class CriClient:
    """CRI over the engine's socket."""

    def __init__(
        self,
        socket: Path,
        log_directory: Path,
        *,
        seen_as: Path | None = None,
        timeout: float = 60.0,
    ) -> None:
        self.socket = socket
        self.log_directory = log_directory
        """Where the engine writes containers' output, in its own paths."""
        self.seen_as = seen_as or log_directory
        """The same directory in the tests' paths."""
        self.timeout = timeout

    def run_pod(
        self,
        handler: str = "",
        command: Sequence[str] = (),
        *,
        image: str = BUSYBOX_IMAGE,
        environment: Mapping[str, str] | None = None,
        namespace: str = "default",
        annotations: Mapping[str, str] | None = None,
        mounts: Mapping[str, str] | None = None,
        privileged: bool = False,
        cdi_devices: Sequence[str] = (),
    ) -> Pod:
        """Start a pod in the node's network, and its container ``main``.

        Without a command it sleeps. ``mounts``: path in the container to path on the host. A
        privileged one is in the node's PID namespace, too.
        """
        number = next(_serial)
        namespaces = pods.NamespaceOption(network=NODE, pid=NODE if privileged else 0)
        sandbox_config = pods.PodSandboxConfig(
            metadata=pods.PodSandboxMetadata(
                name=f"pod-{number}", uid=f"uid-{number}", namespace=namespace, attempt=0
            ),
            annotations=dict(annotations or {}),
            log_directory=str(self.log_directory),
            linux=pods.LinuxPodSandboxConfig(
                security_context=pods.LinuxSandboxSecurityContext(
                    namespace_options=namespaces, privileged=privileged
                )
            ),
        )
        sandbox = self._call(
            "RunPodSandbox",
            pods.RunPodSandboxRequest(config=sandbox_config, runtime_handler=handler),
            pods.RunPodSandboxResponse,
        ).pod_sandbox_id
        container_config = pods.ContainerConfig(
            metadata=pods.ContainerMetadata(name="main"),
            image=pods.ImageSpec(image=image),
            command=command,
            envs=[pods.KeyValue(key=k, value=v) for k, v in (environment or {}).items()],
            mounts=[
                pods.Mount(container_path=inside, host_path=outside)
                for inside, outside in (mounts or {}).items()
            ],
            log_path=f"pod-{number}.log",
            CDI_devices=[pods.CDIDevice(name=each) for each in cdi_devices],
            linux=pods.LinuxContainerConfig(
                security_context=pods.LinuxContainerSecurityContext(
                    namespace_options=namespaces, privileged=privileged
                )
            ),
        )
        container = self._call(
            "CreateContainer",
            pods.CreateContainerRequest(
                pod_sandbox_id=sandbox, config=container_config, sandbox_config=sandbox_config
            ),
            pods.CreateContainerResponse,
        ).container_id
        self._call("StartContainer", pods.ContainerRequest(container_id=container), pods.Empty)
        return Pod(
            sandbox_id=sandbox,
            container_id=container,
            log_file=self.seen_as / f"pod-{number}.log",
        )

    def run_to_end(
        self,
        handler: str,
        command: Sequence[str],
        *,
        namespace: str = "default",
        annotations: Mapping[str, str] | None = None,
        cdi_devices: Sequence[str] = (),
    ) -> str:
        """Run a pod until its container exits, remove it, and return what it printed.

        Raises RuntimeError where the container's exit code is not 0.
        """
        pod = self.run_pod(
            handler,
            command,
            namespace=namespace,
            annotations=annotations,
            cdi_devices=cdi_devices,
        )
        try:
            status = wait_for(lambda: self._exited(pod), f"{command} to end")
            output = self.output(pod)
        finally:
            self.remove_pod(pod)
        if status.exit_code:
            raise RuntimeError(f"{command}: exit code {status.exit_code}: {output}")
        return output

    def container_state(self, pod: Pod) -> int:
        """Return the container's state: 0 created, 1 running, 2 exited, 3 unknown."""
        return int(self._container_status(pod).state)

    def output(self, pod: Pod) -> str:
        """Return what the container printed so far."""
        lines = pod.log_file.read_text().splitlines()
        return "\n".join(line.split(" ", 3)[3] for line in lines)

    def remove_pod(self, pod: Pod) -> None:
        """Stop and remove a pod with its container."""
        self.stop_pod(pod)
        request = pods.PodSandboxRequest(pod_sandbox_id=pod.sandbox_id)
        self._call("RemovePodSandbox", request, pods.Empty)

    def stop_pod(self, pod: Pod) -> None:
        """Stop a pod's container and its sandbox, which stay listed."""
        request = pods.PodSandboxRequest(pod_sandbox_id=pod.sandbox_id)
        try:
            self._call("StopPodSandbox", request, pods.Empty)
        except grpc.RpcError as error:
            # A container that ends by itself at this moment takes its shim's connection along.
            if "ttrpc: closed" not in str(error):
                raise
            self._call("StopPodSandbox", request, pods.Empty)

    def served(self) -> Served:
        """Return the handlers and the default that CRI's effective config names."""
        response = self._call("Status", pods.StatusRequest(verbose=True), pods.StatusResponse)
        config = json.loads(response.info["config"])
        section = config["containerd"]
        return Served(
            handlers={
                name: (runtime.get("options") or {}).get("BinaryName", "")
                for name, runtime in section["runtimes"].items()
            },
            default=section["defaultRuntimeName"],
            config=config,
        )

    def wait_image(self, name: str) -> None:
        """Wait until CRI knows an image that was imported behind its back: it learns by events."""
        request = pods.ImageStatusRequest(image=pods.ImageSpec(image=name))

        def known() -> bool:
            answer = self._call(
                "ImageStatus", request, pods.ImageStatusResponse, service="ImageService"
            )
            return bool(answer.image.id)

        wait_for(known, f"CRI to know the image {name}")

    def ready(self) -> bool:
        """Say whether CRI answers and its runtime is ready."""
        try:
            response = self._call("Status", pods.StatusRequest(), pods.StatusResponse, timeout=2.0)
        except grpc.RpcError:
            return False
        return any(c.type == "RuntimeReady" and c.status for c in response.status.conditions)

    def _container_status(self, pod: Pod) -> Any:  # noqa: ANN401 - a message of the dynamic module
        request = pods.ContainerRequest(container_id=pod.container_id)
        return self._call("ContainerStatus", request, pods.ContainerStatusResponse).status

    def _exited(self, pod: Pod) -> Any:  # noqa: ANN401 - a message of the dynamic module
        status = self._container_status(pod)
        return status if status.state == EXITED else None

    def _call(
        self,
        method: str,
        request: Any,  # noqa: ANN401 - the same
        answer: Any,  # noqa: ANN401 - the same
        timeout: float | None = None,
        service: str = "RuntimeService",
    ) -> Any:  # noqa: ANN401 - the same
        # A channel a call: one that is kept would wait out gRPC's back-off after each restart.
        with grpc.insecure_channel(f"unix:{self.socket}") as channel:
            call: Any = channel.unary_unary(
                f"/runtime.v1.{service}/{method}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=answer.FromString,
            )
            return call(request, timeout=timeout or self.timeout)
