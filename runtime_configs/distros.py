"""Kubernetes distributions: where each keeps the engine's files, and where we may write."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from runtime_configs.adapter import Placement
from runtime_configs.containerd.imports import absolute, import_patterns, matches
from runtime_configs.documents import load
from runtime_configs.model import EngineName, Format, HostView, Version

CONTAINERD_CONFIG: Final = "/etc/containerd/config.toml"
CONTAINERD_DROP_IN: Final = "/etc/containerd/conf.d/99-nvidia.toml"
DROP_IN_NAME: Final = "99-nvidia.toml"
RANCHER_DROP_INS: Final = ("config-v3.toml", "config.toml")
"""k3s and RKE2 import the directory named like this, plus ``.d``."""
MERGING_SINCE: Final = (2, 0, 0)
"""containerd merges a drop-in's tables from here on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """One row: what a distribution does differently. Paths are host paths."""

    name: str
    owner: str
    """Who writes the top-level file, in words."""
    engine: EngineName
    top_level: str
    drop_in: str | None
    sockets: tuple[str, ...]
    units: tuple[str, ...]
    """The systemd units that bring the engine back; the first that runs is the one."""
    placement: Placement = Placement.PLAIN
    templates: tuple[str, ...] = ()
    """Names beside the top-level file, the one for config version 3 first."""
    restarts_itself: bool = False
    """The distribution sees a changed file and restarts its engine: nothing is signalled."""
    install_dir: str | None = None
    """Where the toolkit has to go where the default directory can't be used."""
    refuse: str | None = None
    """Why nothing can be set up here, and what to do instead."""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What is known of a node's engine before its distribution is. Paths are host paths."""

    engine: EngineName
    socket: str | None = None
    config: str | None = None
    """The running daemon's own top-level file; None where it does not run or names none."""
    unit: str | None = None
    """The systemd unit that owns the daemon, or its parent."""
    version: Version | None = None
    declared_config: str | None = None
    """What the user gave with ``--config``; it wins."""
    declared_drop_in: str | None = None
    """What the user gave with ``--drop-in-config``, as the engine sees it; it wins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the change goes on this node."""

    distribution: Distribution
    top_level: str
    drop_in: str | None
    placement: Placement
    template: str | None = None
    warnings: tuple[str, ...] = field(default=())


def _containerd(name: str, owner: str, **more: object) -> Distribution:
    row: dict[str, object] = {
        "engine": EngineName.CONTAINERD,
        "top_level": CONTAINERD_CONFIG,
        "drop_in": CONTAINERD_DROP_IN,
        "sockets": ("/run/containerd/containerd.sock",),
        "units": ("containerd.service",),
    }
    return Distribution(name=name, owner=owner, **(row | more))  # type: ignore[arg-type]


def _rancher(name: str, units: tuple[str, ...]) -> Distribution:
    directory = f"/var/lib/rancher/{name}/agent/etc/containerd"
    return _containerd(
        name,
        f"{name}, which renders it at each start",
        top_level=f"{directory}/config.toml",
        drop_in=f"{directory}/config-v3.toml.d/{DROP_IN_NAME}",
        sockets=("/run/k3s/containerd/containerd.sock",),
        units=units,
        placement=Placement.TEMPLATE,
        templates=("config-v3.toml.tmpl", "config.toml.tmpl"),
        note="containerd is its child: the service is restarted, the child never signalled",
    )


PLAIN: Final = _containerd("plain", "the administrator")
KUBEADM: Final = _containerd("kubeadm", "the administrator")
K3S: Final = _rancher("k3s", ("k3s.service", "k3s-agent.service"))
RKE2: Final = _rancher("rke2", ("rke2-server.service", "rke2-agent.service"))
K0S: Final = _containerd(
    "k0s",
    "k0s, while its first line is # k0s_managed=true",
    top_level="/etc/k0s/containerd.toml",
    drop_in=f"/etc/k0s/containerd.d/{DROP_IN_NAME}",
    sockets=("/run/k0s/containerd.sock",),
    units=("k0scontroller.service", "k0sworker.service"),
    placement=Placement.DROP_IN_ONLY,
    restarts_itself=True,
    note="watches its drop-in directory and restarts containerd by itself",
)
MICROK8S: Final = _containerd(
    "microk8s",
    "MicroK8s, which renders it from containerd-template.toml at each start",
    top_level="/var/snap/microk8s/current/args/containerd.toml",
    drop_in=None,
    sockets=("/var/snap/microk8s/common/run/containerd.sock",),
    units=("snap.microk8s.daemon-containerd.service",),
    placement=Placement.TEMPLATE,
    templates=("containerd-template.toml",),
)
EKS: Final = _containerd(
    "eks", "nodeadm, at boot", note="the GPU image has a handler nvidia of its own"
)
GKE: Final = _containerd(
    "gke",
    "the node image, at boot",
    install_dir="/home/kubernetes/bin/nvidia",
    note="most of Container-Optimized OS is mounted noexec or read-only",
)
KIND: Final = _containerd("kind", "the node image")
MINIKUBE: Final = _containerd(
    "minikube", "minikube, which edits it at each start", note="set up anew after a start"
)
TALOS: Final = _containerd(
    "talos",
    "Talos, read-only",
    top_level="/etc/cri/containerd.toml",
    drop_in=None,
    units=(),
    refuse="Talos takes engine config from its machine config alone: add the extensions "
    "nonfree-kmod-nvidia and nvidia-container-toolkit there, or use --enable-nri-plugin",
)
BOTTLEROCKET: Final = _containerd(
    "bottlerocket",
    "Bottlerocket, rendered on a noexec tmpfs",
    drop_in=None,
    refuse="Bottlerocket's file system takes no toolkit: use its nvidia variant, "
    "which has the handler ready",
)
OPENSHIFT: Final = Distribution(
    name="openshift",
    owner="the machine config operator",
    engine=EngineName.CRIO,
    top_level="/etc/crio/crio.conf",
    drop_in="/etc/crio/crio.conf.d/99-nvidia.conf",
    sockets=("/var/run/crio/crio.sock",),
    units=("crio.service",),
    note="the default low-level runtime is crun; SELinux labels are kept",
)
CRIO: Final = Distribution(
    name="plain",
    owner="the administrator",
    engine=EngineName.CRIO,
    top_level="/etc/crio/crio.conf",
    drop_in="/etc/crio/crio.conf.d/99-nvidia.toml",
    sockets=("/var/run/crio/crio.sock",),
    units=("crio.service",),
)
DOCKER: Final = Distribution(
    name="plain",
    owner="the administrator",
    engine=EngineName.DOCKER,
    top_level="/etc/docker/daemon.json",
    drop_in=None,
    sockets=("/var/run/docker.sock",),
    units=("docker.service",),
)

DISTRIBUTIONS: Final = (
    *(PLAIN, KUBEADM, K3S, RKE2, K0S, MICROK8S, EKS, GKE, KIND, MINIKUBE, OPENSHIFT),
    *(BOTTLEROCKET, TALOS, CRIO, DOCKER),
)
"""Every row; a new distribution is one more, and a line of recognition below."""


def identify(seen: Sighting, view: HostView) -> Place:
    """Return the node's distribution and where the change goes. Reads, never writes.

    Raises ConfigError where the rendered config does not parse.
    """
    row = _recognised(seen, view)
    if seen.engine is not EngineName.CONTAINERD:
        return _plain(row, seen, seen.config or row.top_level)
    if row in (K3S, RKE2):
        return _rendered(row, seen, view)
    if row is K0S:
        return _k0s(seen, view)
    if row is MICROK8S:
        return _microk8s(seen)
    return _plain(row, seen, seen.config or row.top_level)


def _recognised(seen: Sighting, view: HostView) -> Distribution:
    """Return the row: by the engine's own paths and unit first, by the node's marks second."""
    if seen.engine is EngineName.DOCKER:
        return DOCKER
    system = _os_release(view)
    if seen.engine is EngineName.CRIO:
        marked = "OPENSHIFT_VERSION" in system or view.glob("/etc/crio/crio.conf.d/01-ctrcfg-*")
        return OPENSHIFT if marked or system.get("ID") == "rhcos" else CRIO
    paths = " ".join(each for each in (seen.config, seen.declared_config, seen.socket) if each)
    unit = seen.unit or ""
    content = view.read(seen.config) if seen.config else None
    tests: tuple[tuple[Distribution, Callable[[], bool]], ...] = (
        (TALOS, lambda: system.get("ID") == "talos" or TALOS.top_level in paths),
        (BOTTLEROCKET, lambda: system.get("ID") == "bottlerocket"),
        (RKE2, lambda: unit.startswith("rke2") or "/rke2/" in paths),
        (RKE2, lambda: (content or b"").lstrip().startswith(b"# File generated by rke2")),
        (K3S, lambda: unit.startswith("k3s") or "/k3s/" in paths),
        (K0S, lambda: unit.startswith("k0s") or "/k0s/" in paths),
        (MICROK8S, lambda: unit.startswith("snap.microk8s") or "/microk8s/" in paths),
        (GKE, lambda: system.get("ID") == "cos"),
        (KIND, lambda: bool(view.glob("/kind/*"))),
        (MINIKUBE, lambda: bool(view.glob("/var/lib/minikube/certs/*"))),
        (EKS, lambda: bool(view.glob("/etc/eks/*") or view.glob("/etc/eks/*/*"))),
        (KUBEADM, lambda: bool(view.glob("/etc/kubernetes/*"))),
    )
    return next((row for row, test in tests if test()), PLAIN)


def _os_release(view: HostView) -> Mapping[str, str]:
    """Return the keys of os-release; empty where there is none."""
    content = view.read("/etc/os-release") or view.read("/usr/lib/os-release") or b""
    found = {}
    for line in content.decode("utf-8", "replace").splitlines():
        key, sign, value = line.strip().partition("=")
        if sign and not key.startswith("#"):
            found[key] = value.strip("\"'")
    return found


def _plain(row: Distribution, seen: Sighting, config: str) -> Place:
    top_level = seen.declared_config or config
    return Place(
        distribution=row,
        top_level=top_level,
        drop_in=seen.declared_drop_in or row.drop_in,
        placement=Placement.PLAIN,
        warnings=_contradiction(seen, top_level),
    )


def _contradiction(seen: Sighting, top_level: str) -> tuple[str, ...]:
    if seen.config is None or seen.config == top_level:
        return ()
    return (f"--config names {top_level}, but the running engine reads {seen.config}",)


def _rendered(row: Distribution, seen: Sighting, view: HostView) -> Place:
    """k3s, RKE2: the drop-in where the rendered file imports it and merges; else the template."""
    declared = seen.declared_config
    template = declared if declared is not None and declared.endswith(".tmpl") else None
    beside = (
        None if template is None else posixpath.join(posixpath.dirname(template), "config.toml")
    )
    top_level = seen.config or beside or (declared or row.top_level)
    directory = posixpath.dirname(top_level)
    content = view.read(top_level)
    document = {} if content is None else load(content, Format.TOML, path=top_level)
    merges = _merges(seen.version, document)
    if template is None and merges:
        own = (posixpath.join(directory, f"{name}.d", DROP_IN_NAME) for name in RANCHER_DROP_INS)
        patterns = [absolute(each, top_level) for each in import_patterns(document, top_level)]
        for drop_in in filter(None, (seen.declared_drop_in, *own)):
            if any(matches(pattern, drop_in) for pattern in patterns):
                return Place(
                    distribution=row,
                    top_level=top_level,
                    drop_in=drop_in,
                    placement=Placement.DROP_IN_ONLY,
                    warnings=_not_read(seen, drop_in, top_level),
                )
    return Place(
        distribution=row,
        top_level=top_level,
        drop_in=None,
        placement=Placement.TEMPLATE,
        template=template or _template(row, directory, view, merges=merges),
    )


def _not_read(seen: Sighting, used: str, top_level: str) -> tuple[str, ...]:
    declared = seen.declared_drop_in
    if declared in (None, used):
        return ()
    return (
        f"--drop-in-config names {declared}, which {top_level} does not import: {used} is used",
    )


def _merges(version: Version | None, document: Mapping[str, object]) -> bool:
    """Tell whether the engine merges drop-ins: by its version, else by what it is given to read."""
    if version is not None:
        return version.numbers >= MERGING_SINCE
    number = document.get("version")
    return isinstance(number, int) and number > 2  # noqa: PLR2004 - 1.x reads up to version 2


def _template(row: Distribution, directory: str, view: HostView, *, merges: bool) -> str:
    """Return the template that the distribution uses: of two, the one for its containerd."""
    newer, older = (posixpath.join(directory, name) for name in row.templates)
    if not merges:
        return older
    return older if view.read(newer) is None and view.read(older) is not None else newer


def _k0s(seen: Sighting, view: HostView) -> Place:
    """k0s: a drop-in; its own file only where an administrator has taken it over."""
    top_level, drop_in = seen.config or K0S.top_level, str(K0S.drop_in)
    declared, named = seen.declared_config, seen.declared_drop_in
    directory = posixpath.dirname(drop_in)
    if named is not None and posixpath.dirname(named) == directory:
        drop_in = named
    if declared is not None and posixpath.dirname(declared) == directory:
        drop_in = declared
    elif declared is not None:
        top_level = declared
    managed = (view.read(top_level) or b"# k0s_managed=true").startswith(b"# k0s_managed=true")
    return Place(
        distribution=K0S,
        top_level=top_level,
        drop_in=drop_in,
        placement=Placement.DROP_IN_ONLY if managed else Placement.PLAIN,
        warnings=_not_read(seen, drop_in, top_level),
    )


def _microk8s(seen: Sighting) -> Place:
    declared = seen.declared_config
    top_level = seen.config or MICROK8S.top_level
    beside = posixpath.join(posixpath.dirname(top_level), MICROK8S.templates[0])
    return Place(
        distribution=MICROK8S,
        top_level=top_level,
        drop_in=None,
        placement=Placement.TEMPLATE,
        template=declared if declared not in (None, top_level) else beside,
    )
