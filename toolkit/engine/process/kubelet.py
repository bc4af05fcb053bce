"""The container runtime of this node's kubelet."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from runtime_configs.distros.table import K3S, MICROK8S
from runtime_configs.model import EngineName, HostView
from toolkit.engine.process.daemon_arguments import option
from toolkit.errors import ToolkitError
from toolkit.host.processes import ProcessTable

_KUBELET = "kubelet"
_MICROK8S = "kubelite"
_NAMES = (_KUBELET, _MICROK8S, "k3s", "rke2")
_EMBEDDED = tuple(f"{name}{role}" for name in ("k3s", "rke2") for role in ("", "-server", "-agent"))
"""The kubelet of k3s is a part of ``k3s server`` and ``k3s agent``."""
CGROUP_DRIVERS = ("systemd", "cgroupfs")
_DEFAULT = "/run/containerd/containerd.sock"
"""The kubelet's own default since 1.24."""
SOCKETS = {
    EngineName.DOCKER: "docker",
    EngineName.CRIO: "cri-?o",
    EngineName.CONTAINERD: "containerd",
}
"""Engine to a pattern in its CRI socket's path; the first match counts."""
_K3S_DOCKER = "/run/k3s/cri-dockerd/cri-dockerd.sock"


class KubeletSetting(Struct, frozen=True, kw_only=True):
    """One setting of the kubelet."""

    value: str | None
    """None: not set, as far as the config could be read."""
    unread: str = ""
    """Why a part of the config could not be read; empty if all of it was."""


def endpoint(table: ProcessTable, view: HostView) -> str | None:
    """Return the kubelet's CRI socket on the host.

    None if no kubelet runs, or its config cannot be read.
    """
    for program, arguments in _host_kubelets(table):
        if program == _KUBELET:
            return _of_kubelet(arguments, view)
        if program == _MICROK8S:
            return MICROK8S.sockets[0]
        # k3s renames itself: its command line is one word, ``/usr/local/bin/k3s server``.
        first, _, rest = program.partition(" ")
        words = " ".join((rest, *arguments)).split()
        if first in _EMBEDDED and words[:1] in (["server"], ["agent"]):
            return _of_k3s(arguments)
    return None


def cgroup_driver(table: ProcessTable, view: HostView) -> KubeletSetting | None:
    """Return which of ``CGROUP_DRIVERS`` the kubelet is set to; None if no plain kubelet runs.

    Unset, the kubelet uses what the engine reports (kubelet 1.31 and later) or ``cgroupfs``.
    """
    for program, arguments in _host_kubelets(table):
        if program == _KUBELET:
            driver = _setting(arguments, "cgroup-driver", "cgroupDriver", view)
            return driver if driver.value in CGROUP_DRIVERS else replace(driver, value=None)
    return None


def _host_kubelets(table: ProcessTable) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the program's name and the arguments of each process that may be the kubelet.

    Those of nodes in containers (kind, minikube) have another engine. One that may or may not be in
    a container counts: few are, and it is only read.
    """
    for process in table.named(_NAMES):
        if process.on_host is not False:
            program, *arguments = process.arguments or (process.name,)
            yield posixpath.basename(program), tuple(arguments)


def engine_of(socket: str) -> EngineName | None:
    """Return the engine that a CRI socket's name stands for; None for an unknown name."""
    name = socket.lower()
    return next((each for each, words in SOCKETS.items() if re.search(words, name)), None)


def _of_kubelet(arguments: tuple[str, ...], view: HostView) -> str | None:
    address = _setting(arguments, "container-runtime-endpoint", "containerRuntimeEndpoint", view)
    if address.value is None and address.unread:
        return None
    return (address.value or _DEFAULT).removeprefix("unix://")


def _setting(arguments: tuple[str, ...], flag: str, key: str, view: HostView) -> KubeletSetting:
    """Return a setting: a flag, else a drop-in in ``--config-dir``, else the config file.

    Of several drop-ins the last by name wins (kubelet 1.30, cmd/kubelet/app/server.go).
    """
    given = option(arguments, f"--{flag}", f"-{flag}")
    if given:
        return KubeletSetting(value=given)
    value, unread = None, ""
    for path in _configs(arguments, view):
        try:
            content = view.read(path)
        except ToolkitError as error:
            unread = unread or error.message
            continue
        if content is None:
            unread = unread or f"{path}, which the kubelet names, is not there"
        else:
            value = _value(content, key) or value
    return KubeletSetting(value=value, unread=unread)


def _configs(arguments: tuple[str, ...], view: HostView) -> Iterator[str]:
    config = option(arguments, "--config", "-config")
    if config:
        yield config
    directory = option(arguments, "--config-dir", "-config-dir")
    if directory:
        yield from view.glob(posixpath.join(directory, "*.conf"))


def _value(content: bytes, key: str) -> str | None:
    """Return a string from a JSON or YAML config; None also if it is neither."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        pattern = rf"""^[ \t{{,]*["']?{key}["']?[ \t]*:[ \t]*["']?([^"'\s,}}#]+)"""
        found = re.search(pattern, content.decode(errors="replace"), re.MULTILINE)
        return found[1] if found else None
    value = document.get(key) if isinstance(document, dict) else None
    return value if isinstance(value, str) else None


def _of_k3s(arguments: tuple[str, ...]) -> str:
    given = option(arguments, "--container-runtime-endpoint")
    if given:
        return given.removeprefix("unix://")
    return _K3S_DOCKER if "--docker" in arguments else K3S.sockets[0]
