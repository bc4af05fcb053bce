"""Which container runtime the kubelet of this node talks to."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from runtime_configs.distros import K3S, MICROK8S
from runtime_configs.model import EngineName, HostView
from toolkit.engine.daemon_arguments import option
from toolkit.host.processes import ProcessFacts, ProcessTable

_NAMES = ("kubelet", "kubelite", "hyperkube", "k3s", "rke2")
_KUBELETS = ("kubelet", "hyperkube")
_EMBEDDED = tuple(f"{name}{role}" for name in ("k3s", "rke2") for role in ("", "-server", "-agent"))
"""The kubelet of k3s is a part of ``k3s server`` and ``k3s agent``."""
_MICROK8S = "kubelite"
CGROUP_DRIVERS = ("systemd", "cgroupfs")
_DEFAULT = "/run/containerd/containerd.sock"
"""The kubelet's own default since 1.24."""
_K3S_DOCKER = "/run/k3s/cri-dockerd/cri-dockerd.sock"


def endpoint(table: ProcessTable, view: HostView) -> str | None:
    """Return the socket, on the host, that the kubelet here is served by; None: none runs."""
    for process in _of_the_host(table):
        program = posixpath.basename(process.arguments[0]) if process.arguments else process.name
        arguments = process.arguments[1:]
        if program in _KUBELETS:
            return _of_kubelet(arguments, view)
        if program == _MICROK8S:
            return MICROK8S.sockets[0]
        first = program.split(" ", 1)[0]
        # k3s renames itself: its command line is one word, ``/usr/local/bin/k3s server``.
        if first in _EMBEDDED and _is_node(process.arguments):
            return _of_k3s(arguments)
    return None


def cgroup_driver(table: ProcessTable, view: HostView) -> str | None:
    """Return ``systemd`` or ``cgroupfs`` as the kubelet was told; None where it was told neither.

    One that was told nothing takes the engine's word (kubelet 1.31 and later) or ``cgroupfs``.
    """
    for process in _of_the_host(table):
        program = posixpath.basename(process.arguments[0]) if process.arguments else process.name
        if program in _KUBELETS:
            arguments = process.arguments[1:]
            given = option(arguments, "--cgroup-driver", "-cgroup-driver")
            driver = given or _in_config(arguments, "cgroupDriver", view)
            return driver if driver in CGROUP_DRIVERS else None
    return None


def _of_the_host(table: ProcessTable) -> Iterator[ProcessFacts]:
    """Leave out the kubelets of nodes in containers (kind, minikube), which have another engine.

    One of which that can't be told counts: it is only listened to, and few are in a container.
    """
    return (each for each in table.named(_NAMES) if each.on_host is not False)


def engine_of(socket: str) -> EngineName | None:
    """Return the engine that a CRI socket's name tells."""
    name = socket.lower()
    if "docker" in name:
        return EngineName.DOCKER
    if "crio" in name or "cri-o" in name:
        return EngineName.CRIO
    return EngineName.CONTAINERD if "containerd" in name else None


def _of_kubelet(arguments: tuple[str, ...], view: HostView) -> str:
    given = option(arguments, "--container-runtime-endpoint", "-container-runtime-endpoint")
    given = given or _in_config(arguments, "containerRuntimeEndpoint", view)
    return (given or _DEFAULT).removeprefix("unix://")


def _in_config(arguments: tuple[str, ...], key: str, view: HostView) -> str | None:
    """Return a text of the kubelet's config file, which is YAML or JSON."""
    path = option(arguments, "--config", "-config")
    if not path:
        return None
    content = (view.read(path) or b"").decode(errors="replace")
    pattern = rf"""^[ \t{{,]*["']?{key}["']?[ \t]*:[ \t]*["']?([^"'\s,}}#]+)"""
    found = re.search(pattern, content, re.MULTILINE)
    return found[1] if found else None


def _of_k3s(arguments: tuple[str, ...]) -> str:
    given = option(arguments, "--container-runtime-endpoint")
    if given:
        return given.removeprefix("unix://")
    return _K3S_DOCKER if "--docker" in arguments else K3S.sockets[0]


def _is_node(arguments: tuple[str, ...]) -> bool:
    words = " ".join(arguments).split()
    return "server" in words[1:2] or "agent" in words[1:2]
