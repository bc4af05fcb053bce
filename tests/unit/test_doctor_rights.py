"""`doctor` names what the container lacks, each with the fix."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.faults.node_host import FaultHost
from tests.unit.doctor_host import ALL, found, give_proc, node_of, only
from toolkit.host.given_mounts import own_root_is_container_image
from toolkit.node import Node
from toolkit.report.doctor import Finding, Verdict, rights
from toolkit.report.doctor.rights import Capability

MakeNode = Callable[..., Node]
DOCKER = """\
1 0 0:9 / / rw - overlay overlay rw
2 1 8:1 /x/hosts /etc/hosts rw - ext4 /dev/sda1 rw
3 1 8:1 /x/resolv.conf /etc/resolv.conf rw - ext4 /dev/sda1 rw
"""
HOST = "31 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
SYS_PTRACE, SYS_CHROOT, SYS_ADMIN, KILL = 1 << 19, 1 << 18, 1 << 21, 1 << 5


@pytest.fixture
def node(tmp_path: Path) -> MakeNode:
    host = FaultHost(tmp_path / "node")

    def make(
        *more: str,
        capabilities: int = ALL,
        root: str | None = None,
        files: Mapping[str, str] | None = None,
        seen: Path | None = None,
    ) -> Node:
        seen = host.root if seen is None else seen
        give_proc(host.directory / "proc", root=seen, capabilities=capabilities, files=files)
        made = node_of(host, *more)
        return made if root is None else replace(made, root=replace(made.root, root=root))

    return make


@pytest.mark.parametrize(
    ("missing", "name"),
    [
        (SYS_PTRACE, "CAP_SYS_PTRACE"),
        (SYS_CHROOT, "CAP_SYS_CHROOT"),
    ],
)
def test_a_capability_that_is_missing_is_named_with_the_mend(
    node: MakeNode, missing: int, name: str
) -> None:
    finding = only(node(capabilities=ALL & ~missing), "privileges")
    assert finding.verdict is Verdict.PROBLEM
    assert finding.message.startswith(f"{name} is missing: ")
    assert "privileged: true" in finding.fix


@pytest.mark.parametrize("options", [("--restart-mode=none",), ("--no-runtime-config",)])
def test_what_only_a_signal_needs_is_not_asked_for_where_none_is_sent(
    node: MakeNode, options: tuple[str, ...]
) -> None:
    made = node(*options, capabilities=ALL & ~SYS_PTRACE & ~KILL, seen=Path("/nowhere"))
    assert only(made, "privileges").verdict is Verdict.OK
    assert only(made, "hostPID").verdict is Verdict.OK


@pytest.mark.parametrize(
    ("missing", "name"),
    [
        (KILL, "CAP_KILL"),
        (SYS_ADMIN, "CAP_SYS_ADMIN"),
        (1 << 0, "CAP_CHOWN"),
        (1 << 1, "CAP_DAC_OVERRIDE"),
        (1 << 3, "CAP_FOWNER"),
    ],
)
def test_a_capability_that_most_set_ups_do_without_is_worth_a_look(
    node: MakeNode, missing: int, name: str
) -> None:
    finding = only(node(capabilities=ALL & ~missing), "privileges")
    assert finding.verdict is Verdict.WARNING
    assert finding.message.startswith(f"{name} is missing: ")


def test_root_of_a_user_namespace_has_no_rights_on_the_host(node: MakeNode) -> None:
    remapped = {"self/uid_map": "         0     100000      65536\n"}
    finding = only(node(files=remapped), "privileges")
    assert finding.verdict is Verdict.PROBLEM
    assert "--userns=host" in finding.fix


def test_a_node_that_is_in_a_user_namespace_as_a_whole_is_set_up_from_within(
    node: MakeNode, tmp_path: Path
) -> None:
    made = node(files={"self/uid_map": "         0       1000          1\n"})
    for each in ("self", "1"):
        (tmp_path / "node/proc" / each / "ns").mkdir()
        (tmp_path / "node/proc" / each / "ns/user").symlink_to("user:[4026532999]")
    assert only(made, "privileges").verdict is Verdict.OK


def test_capabilities_that_can_not_be_read_are_not_taken_for_there(node: MakeNode) -> None:
    finding = only(node(files={"self/status": "Name:\tx\n"}), "privileges")
    assert finding.verdict is Verdict.UNKNOWN


def test_a_first_process_with_another_root_is_not_the_hosts(node: MakeNode, tmp_path: Path) -> None:
    finding = only(node(seen=tmp_path), "hostPID")
    assert finding.verdict is Verdict.PROBLEM
    assert "hostPID: true" in finding.fix


def test_a_first_process_that_may_not_be_looked_at_is_not_told_as_a_missing_host_pid(
    node: MakeNode,
) -> None:
    made = node(capabilities=ALL & ~SYS_PTRACE)
    (Path(made.root.proc) / "1/root").unlink()
    finding = only(made, "hostPID")
    assert finding.verdict is Verdict.UNKNOWN
    assert "CAP_SYS_PTRACE" in finding.message


def test_a_container_without_the_hosts_root_is_told_to_mount_it(node: MakeNode) -> None:
    tables = {"self/mountinfo": DOCKER, "1/mountinfo": DOCKER, "1/comm": "sh\n"}
    made = node(root="/", files=tables, seen=Path("/"))
    finding = only(made, "host root")
    assert finding.verdict is Verdict.PROBLEM
    assert "-v /:/host" in finding.fix
    assert only(made, "hostPID").verdict is Verdict.PROBLEM


def test_an_empty_directory_is_no_hosts_root(node: MakeNode, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    finding = only(node(root=str(tmp_path / "empty")), "host root")
    assert finding.verdict is Verdict.PROBLEM
    assert "neither etc nor usr" in finding.message


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"self/mountinfo": DOCKER, "1/mountinfo": DOCKER, "1/comm": "sh\n"}, True),
        # A host's PID namespace, and nothing else of the host.
        ({"self/mountinfo": DOCKER, "1/mountinfo": HOST, "1/comm": "systemd\n"}, True),
        ({"self/mountinfo": DOCKER, "1/mountinfo": "", "1/comm": "sh\n"}, True),
        # A node in a container (kind), and a live system.
        ({"self/mountinfo": DOCKER, "1/mountinfo": DOCKER, "1/comm": "systemd\n"}, False),
        ({"self/mountinfo": DOCKER, "1/mountinfo": DOCKER, "2/comm": "kthreadd\n"}, False),
        ({"self/mountinfo": HOST, "1/mountinfo": HOST, "1/comm": "sh\n"}, False),
    ],
)
def test_a_containers_own_root_is_told_from_a_hosts(
    tmp_path: Path, tables: Mapping[str, str], *, expected: bool
) -> None:
    give_proc(tmp_path / "proc", root=tmp_path, files=tables)
    assert own_root_is_container_image(str(tmp_path / "proc")) is expected


def selinux(node: MakeNode, enforce: bytes | None, label: str) -> Finding:
    kinds = "nodev\tselinuxfs\n"
    made = node(files={"filesystems": kinds, "self/attr/current": f"{label}\0"})
    if enforce is not None:
        at = Path(made.root.root, "sys/fs/selinux")
        at.mkdir(parents=True)
        (at / "enforce").write_bytes(enforce)
    return only(made, "SELinux")


@pytest.mark.parametrize(
    ("enforce", "label", "verdict"),
    [
        (b"1", "system_u:system_r:container_t:s0:c1,c2", Verdict.PROBLEM),
        (b"1", "system_u:system_r:spc_t:s0", Verdict.OK),
        (b"0", "system_u:system_r:container_t:s0", Verdict.OK),
        (None, "system_u:system_r:container_t:s0", Verdict.UNKNOWN),
    ],
)
def test_selinux_is_told_by_the_hosts_mode_and_our_label(
    node: MakeNode, enforce: bytes | None, label: str, verdict: Verdict
) -> None:
    assert selinux(node, enforce, label).verdict is verdict


def test_a_kernel_without_selinux_has_none_in_use(node: MakeNode) -> None:
    assert only(node(), "SELinux").message == "not in use"


@pytest.mark.parametrize(
    ("label", "options", "confined"),
    [
        ("docker-default (enforce)\n", (), True),
        ("docker-default (enforce)\n", ("--restart-mode=none",), False),
        ("docker-default (complain)\n", (), False),
        ("unconfined\n", (), False),
    ],
)
def test_a_profile_that_keeps_us_from_the_engine_is_named(
    node: MakeNode, label: str, options: tuple[str, ...], *, confined: bool
) -> None:
    made = node(*options, files={"self/attr/current": label})
    verdicts = [each.verdict for each in found(made, "AppArmor")]
    assert verdicts == ([Verdict.PROBLEM] if confined else [])


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        ((), Verdict.OK),
        (("--cdi-enabled", "--create-device-nodes="), Verdict.OK),
        (("--cdi-enabled",), Verdict.PROBLEM),
    ],
)
def test_device_nodes_of_cdi_need_a_right_of_their_own(
    node: MakeNode, options: tuple[str, ...], verdict: Verdict
) -> None:
    finding = only(node(*options, capabilities=ALL & ~(1 << 27)), "privileges")
    assert finding.verdict is verdict
    assert finding.message.startswith("CAP_MKNOD is missing: ") == (verdict is Verdict.PROBLEM)


def test_the_table_of_rights_names_each_capability_that_is_looked_for() -> None:
    looked_for = {each.name for each in vars(rights).values() if isinstance(each, Capability)}
    table = (Path(__file__).parents[2] / "SECURITY.md").read_text()
    assert looked_for == set(re.findall(r"`(CAP_\w+)`", table))
