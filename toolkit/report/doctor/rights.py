"""Whether this container has the rights that a setup needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from toolkit.errors import EngineInvisibleError
from toolkit.host.given_mounts import NO_HOST_ROOT, own_root_is_container_image
from toolkit.host.processes import has_root
from toolkit.node import Node
from toolkit.report.doctor.context import Context
from toolkit.report.doctor.findings import Finding, not_looked_at, ok, problem, warning
from toolkit.report.doctor.system import namespace, own_proc

_PRIVILEGED = "run the container with privileged: true (docker run --privileged)"
_CONFINED = (":container_t:", ":container_init_t:", ":container_kvm_t:", ":svirt_lxc_net_t:")
_FIRST_PID_NAMESPACE = "pid:[4026531836]"
"""Its inode is fixed (Linux, include/uapi/linux/nsfs.h and include/linux/proc_ns.h)."""
_ALL_USERS = ["0", "0", "4294967295"]


class Capability(Struct, frozen=True):
    """A capability of capabilities(7), and what a setup without it can't do."""

    number: int
    name: str
    lack: str


_CHOWN = Capability(0, "CAP_CHOWN", "the owner of a replaced config can't be kept")
_DAC_OVERRIDE = Capability(
    1, "CAP_DAC_OVERRIDE", "a config that only another owner may read can't be read"
)
_FOWNER = Capability(
    3, "CAP_FOWNER", "mode and attributes of a config of another owner can't be kept"
)
_KILL = Capability(5, "CAP_KILL", "an engine of another user can't be signalled")
_SYS_CHROOT = Capability(18, "CAP_SYS_CHROOT", "the host's own programs can't be run")
_SYS_PTRACE = Capability(19, "CAP_SYS_PTRACE", "/proc/PID/root and exe of the engine can't be read")
_SYS_ADMIN = Capability(21, "CAP_SYS_ADMIN", "labels of replaced files can't be kept")
_MKNOD = Capability(27, "CAP_MKNOD", "NVIDIA's device nodes can't be made")


def host_root(context: Context) -> Iterator[Finding]:
    """Check whether the given host root is one."""
    root = context.node.root
    if root.root == "/" and own_root_is_container_image(root.proc):
        yield problem("host root", *NO_HOST_ROOT)
    elif not any(os.path.isdir(os.path.join(root.root, each)) for each in ("etc", "usr")):
        yield problem(
            "host root",
            f"{root.root} has neither etc nor usr: it is not a host's root",
            "mount the host's root there, or name it with --host-root",
        )
    else:
        yield ok("host root", root.root)


def privileges(context: Context) -> Iterator[Finding]:
    """Check the user, its namespace and the capabilities."""
    users = (own_proc(context.node, "self/uid_map") or b"").decode().split()
    effective = _effective(context.node)
    if os.geteuid() != 0:
        yield problem("privileges", "not root", f"{_PRIVILEGED}, as user 0")
    elif users and users[:3] != _ALL_USERS and not _is_in_nodes_user_namespace(context.node):
        yield problem(
            "privileges",
            "root of a user namespace alone, with no rights on the host",
            "run the container without one (hostUsers: true, docker run --userns=host)",
        )
    elif effective is None:
        yield not_looked_at("privileges", f"{context.node.root.proc}/self/status has no CapEff")
    elif lacking := _lacking(_needed(context), effective):
        yield problem("privileges", lacking, f"{_PRIVILEGED}, or add it")
    elif lacking := _lacking(_helpful(context), effective):
        yield warning("privileges", lacking, f"{_PRIVILEGED}, or add it")
    else:
        names = ", ".join(each.name for each in (*_needed(context), *_helpful(context)))
        yield ok("privileges", f"root with {names}")


def _is_in_nodes_user_namespace(node: Node) -> bool:
    """Return whether the whole node is in this user namespace, as on a rootless node (kind)."""
    own = namespace(node, "user")
    same = own is not None and own == namespace(node, "user", 1)
    return same and bool(sees_host_processes(node))


def _lacking(capabilities: tuple[Capability, ...], effective: int) -> str:
    return "; ".join(
        f"{each.name} is missing: {each.lack}"
        for each in capabilities
        if not effective >> each.number & 1
    )


def _needed(context: Context) -> tuple[Capability, ...]:
    """Return the capabilities that this setup cannot do without."""
    chroots = (_SYS_CHROOT,) if context.engines and context.node.root.root != "/" else ()
    traces = (_SYS_PTRACE,) if context.signals else ()
    cdi = context.node.settings.cdi
    nodes = (_MKNOD,) if cdi.enabled and cdi.create_device_nodes else ()
    return (*traces, *chroots, *nodes)


def _helpful(context: Context) -> tuple[Capability, ...]:
    """Return the capabilities that it needs only on some nodes."""
    owners = (_CHOWN, _DAC_OVERRIDE, _FOWNER) if context.engines else ()
    return (*owners, _SYS_ADMIN, *((_KILL,) if context.signals else ()))


def _effective(node: Node) -> int | None:
    for line in (own_proc(node, "self/status") or b"").decode(errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return int(value, 16)
    return None


def host_processes(context: Context) -> Iterator[Finding]:
    """Check whether this PID namespace is the host's."""
    fix = "set hostPID: true, or docker run --pid=host"
    if isinstance(context.engine_error, EngineInvisibleError):
        yield problem("hostPID", context.engine_error.message, fix)
    elif seen := sees_host_processes(context.node):
        yield ok("hostPID", "the host's processes can be seen")
    elif not context.signals:
        yield ok("hostPID", "the host's processes can't be seen, and no engine is signalled")
    elif seen is None:
        yield not_looked_at("hostPID", "PID 1 may not be looked at without CAP_SYS_PTRACE")
    else:
        yield problem(
            "hostPID",
            "the host's processes can't be seen, so the engine can't be signalled",
            fix,
        )


def sees_host_processes(node: Node) -> bool | None:
    """Return whether this PID namespace is the node's; None where PID 1 cannot be read.

    It is the machine's first one, or its PID 1 has the host root as its root (a node in a
    container, such as kind's).
    """
    if namespace(node, "pid") == _FIRST_PID_NAMESPACE:
        return True
    found = None
    mounted = node.root.root != "/" or not own_root_is_container_image(node.root.proc)
    if mounted:
        found = has_root(node.root.proc, 1, node.root.root)
    if found is None and Path(node.root.proc, "2/comm").exists():
        return True  # kthreadd exists only in the first one
    # Without ptrace rights PID 1 cannot be read.
    return found if mounted else False


def app_armor(context: Context) -> Iterator[Finding]:
    """Check whether a profile such as ``docker-default`` blocks access to the engine's process."""
    name = _label(context.node)
    if context.signals and name.endswith(" (enforce)"):
        yield problem(
            "AppArmor",
            f"this container runs confined as {name}: the engine may not be looked at or signalled",
            f"{_PRIVILEGED}, or unconfined (docker run --security-opt apparmor=unconfined)",
        )


def _label(node: Node) -> str:
    """Return this process's label in the active security module."""
    label = (own_proc(node, "self/attr/current") or b"").rstrip(b"\0\n")
    return label.decode(errors="replace") or "unknown"


def selinux(context: Context) -> Iterator[Finding]:
    """Check whether this container is confined."""
    enforcing = context.node.view.read("/sys/fs/selinux/enforce")
    kinds = own_proc(context.node, "filesystems")
    name = _label(context.node)
    if enforcing is None and kinds is not None and b"selinuxfs" not in kinds:
        yield ok("SELinux", "not in use")
    elif enforcing is None:
        yield not_looked_at(
            "SELinux",
            f"the host's /sys/fs/selinux/enforce can't be seen from here; we run as {name}",
        )
    elif enforcing.strip() != b"1":
        yield ok("SELinux", "permissive")
    elif any(each in name for each in _CONFINED):
        yield problem(
            "SELinux",
            f"enforcing, and this container runs confined as {name}: the host's files are denied",
            "run it privileged, or with seLinuxOptions type spc_t",
        )
    else:
        yield ok("SELinux", f"enforcing, as {name}; labels of replaced files are kept")
