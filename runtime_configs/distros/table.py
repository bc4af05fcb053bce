"""The table of Kubernetes distributions and their differences. A new one is one more row."""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from runtime_configs.adapter import Placement
from runtime_configs.model import EngineName, of_engine

DROP_IN_NAME: Final = "99-nvidia.toml"


class Distribution(Struct, frozen=True, kw_only=True):
    """One row: the differences of a distribution. Paths are host paths."""

    name: str
    owner: str
    """Who writes the top-level file, in words."""
    engine: EngineName
    top_level: str
    drop_in: str | None
    sockets: tuple[str, ...]
    unit: str = ""
    """Prefix of the services that own the engine; empty if the engine has its own."""
    engine_is_child: bool = False
    """Whether such a service starts the engine and exits with it: then the service is restarted."""
    placement: Placement = Placement.PLAIN
    templates: tuple[str, ...] = ()
    """File names beside the top-level file, the one for config version 3 first."""
    restarts_itself: bool = False
    """Whether the distribution restarts its engine when a file changes: then nothing is
    signalled."""
    install_dir: str | None = None
    """The toolkit's directory where the default one cannot be used."""
    refuse: str | None = None
    """Why nothing can be set up here, and what to do instead."""
    note: str = ""
    """What an operator of such a node should know, in words."""


PLAIN: Final = Distribution(
    name="plain",
    owner="the administrator",
    engine=EngineName.CONTAINERD,
    top_level="/etc/containerd/config.toml",
    drop_in=f"/etc/containerd/conf.d/{DROP_IN_NAME}",
    sockets=("/run/containerd/containerd.sock",),
)


def _rancher(name: str) -> Distribution:
    directory = f"/var/lib/rancher/{name}/agent/etc/containerd"
    return replace(
        PLAIN,
        name=name,
        owner=f"{name}, which renders it at each start",
        top_level=f"{directory}/config.toml",
        drop_in=f"{directory}/config-v3.toml.d/{DROP_IN_NAME}",
        sockets=("/run/k3s/containerd/containerd.sock",),
        unit=name,
        engine_is_child=True,
        placement=Placement.TEMPLATE,
        templates=("config-v3.toml.tmpl", "config.toml.tmpl"),
        note="containerd is its child: the service is restarted, the child never signalled",
    )


KUBEADM: Final = replace(PLAIN, name="kubeadm")
K3S: Final = _rancher("k3s")
RKE2: Final = _rancher("rke2")
K0S: Final = replace(
    PLAIN,
    name="k0s",
    owner="k0s, while its first line is # k0s_managed=true",
    top_level="/etc/k0s/containerd.toml",
    drop_in=f"/etc/k0s/containerd.d/{DROP_IN_NAME}",
    sockets=("/run/k0s/containerd.sock",),
    unit="k0s",
    placement=Placement.DROP_IN_ONLY,
    restarts_itself=True,
    note="watches its drop-in directory and restarts containerd by itself",
)
MICROK8S: Final = replace(
    PLAIN,
    name="microk8s",
    owner="MicroK8s, which renders it from containerd-template.toml at each start",
    top_level="/var/snap/microk8s/current/args/containerd.toml",
    drop_in=None,
    sockets=("/var/snap/microk8s/common/run/containerd.sock",),
    unit="snap.microk8s",
    placement=Placement.TEMPLATE,
    templates=("containerd-template.toml",),
)
EKS: Final = replace(
    PLAIN,
    name="eks",
    owner="nodeadm, at boot",
    note="the GPU image has a handler nvidia of its own",
)
GKE: Final = replace(
    PLAIN,
    name="gke",
    owner="the node image, at boot",
    install_dir="/home/kubernetes/bin/nvidia",
    note="most of Container-Optimized OS is mounted noexec or read-only",
)
KIND: Final = replace(PLAIN, name="kind", owner="the node image")
MINIKUBE: Final = replace(
    PLAIN,
    name="minikube",
    owner="minikube, which edits it at each start",
    note="set up again after a start",
)
TALOS: Final = replace(
    PLAIN,
    name="talos",
    owner="Talos, read-only",
    top_level="/etc/cri/containerd.toml",
    drop_in=None,
    refuse="Talos reads engine config only from its machine config: add the extensions "
    "nonfree-kmod-nvidia and nvidia-container-toolkit there, or use --enable-nri-plugin",
)
BOTTLEROCKET: Final = replace(
    PLAIN,
    name="bottlerocket",
    owner="Bottlerocket, rendered on a noexec tmpfs",
    drop_in=None,
    refuse="the toolkit can't be installed on Bottlerocket's file system: use its nvidia variant, "
    "which has the handler",
)
CRIO: Final = Distribution(
    name="plain",
    owner="the administrator",
    engine=EngineName.CRIO,
    top_level="/etc/crio/crio.conf",
    drop_in="/etc/crio/crio.conf.d/99-nvidia.toml",
    sockets=("/var/run/crio/crio.sock",),
)
OPENSHIFT: Final = replace(
    CRIO,
    name="openshift",
    owner="the machine config operator",
    drop_in="/etc/crio/crio.conf.d/99-nvidia.conf",
    note="the default low-level runtime is crun; SELinux labels are kept",
)
DOCKER: Final = Distribution(
    name="plain",
    owner="the administrator",
    engine=EngineName.DOCKER,
    top_level="/etc/docker/daemon.json",
    drop_in=None,
    sockets=("/var/run/docker.sock",),
)

DISTRIBUTIONS: Final = (
    *(PLAIN, KUBEADM, K3S, RKE2, K0S, MICROK8S, EKS, GKE, KIND, MINIKUBE, OPENSHIFT),
    *(BOTTLEROCKET, TALOS, CRIO, DOCKER),
)
"""Every row; a new distribution needs one more, at times a line in ``recognition.py`` too."""

PLAIN_ROWS: Final = {row.engine: row for row in DISTRIBUTIONS if row.name == "plain"}


def plain_row(engine: EngineName) -> Distribution:
    """Return an engine's files unless a distribution or the user names others.

    Raises LookupError for an engine without a row ``plain``.
    """
    where = "DISTRIBUTIONS in runtime_configs/distros/table.py, a row named plain"
    return of_engine(PLAIN_ROWS, engine, where)


def row_of(name: str, engine: EngineName) -> Distribution:
    """Return a row by name; an engine without such a row gets its plain one."""
    rows = (row for row in DISTRIBUTIONS if row.name == name and row.engine is engine)
    return next(rows, plain_row(engine))


def owner_of(unit: str) -> Distribution | None:
    """Return the row whose service this systemd unit is; None for an engine's own."""
    return next((row for row in DISTRIBUTIONS if row.unit and unit.startswith(row.unit)), None)
