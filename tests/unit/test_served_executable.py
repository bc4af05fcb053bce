"""What is served has to be executable: in a setup, `verify`, `status` and `doctor`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from runtime_configs.model import EngineName, Version
from tests.faults.node_host import FaultHost
from tests.unit.doctor_host import found, node_of, only
from toolkit.apply.served import faults_of, view_of
from toolkit.engine.facts import EngineProcess, Expectation
from toolkit.errors import EngineRejectedError
from toolkit.host.clock import UninterruptedClock
from toolkit.host.mounts import memory_file_system, parse_mountinfo
from toolkit.node import Node
from toolkit.report.doctor import Verdict
from toolkit.report.status import ask, status_of

TOOLKIT = "/usr/local/nvidia/toolkit"
RUNTIME = f"{TOOLKIT}/nvidia-container-runtime"
V2 = Version(major=2, minor=1)
Damage = Callable[[Path], None]


@pytest.fixture
def host(tmp_path: Path) -> FaultHost:
    made = FaultHost(tmp_path, version=V2)
    made.set_up()
    return made


def removed(file: Path) -> None:
    file.unlink()


def not_executable(file: Path) -> None:
    file.chmod(0o644)


def edited(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"# more\n")


def exchanged(file: Path) -> None:
    beside = file.with_name("beside")
    beside.write_bytes(b"#!/bin/sh\nexit 0\n")
    beside.chmod(0o755)
    beside.replace(file)


CASES: dict[str, tuple[str, Damage, str]] = {
    "the binary is gone": (RUNTIME, removed, f"{RUNTIME} is not there"),
    "the binary has no mode for it": (
        RUNTIME,
        not_executable,
        f"{RUNTIME} is not executable (mode 0644)",
    ),
    "the binary was edited": (RUNTIME, edited, f"{RUNTIME} is not the file that was installed"),
    "the binary is somebody's": (
        RUNTIME,
        exchanged,
        f"{RUNTIME} is not the file that was installed",
    ),
    "what is behind it is gone": (f"{RUNTIME}.real", removed, f"{RUNTIME}.real is not there"),
    "what is behind it was edited": (
        f"{RUNTIME}.real",
        edited,
        f"{RUNTIME}.real is not the file that was installed",
    ),
    "the shell is gone": ("/bin/sh", removed, f"/bin/sh, the interpreter of {RUNTIME}, is not"),
}
cases = pytest.mark.parametrize(("path", "damage", "why"), CASES.values(), ids=CASES.keys())


@cases
def test_verify_and_status_name_the_binary_and_why(
    host: FaultHost, path: str, damage: Damage, why: str
) -> None:
    assert ask(host.node()).missing == ()
    assert status_of(host.node())["unexecutable"] == ()
    damage(host.root / path[1:])
    missing = ask(host.node()).missing
    assert missing[0].startswith(f"handler nvidia can't be executed: {why}")
    document = status_of(host.node())
    assert document["unexecutable"] == missing
    assert document["state"] == "set up, but a handler can't be executed"
    assert document["ready"] is False


@cases
def test_a_start_repairs_what_is_ours_and_names_what_is_not(
    host: FaultHost, path: str, damage: Damage, why: str
) -> None:
    damage(host.root / path[1:])
    restarts = host.engine.restarts
    if path.startswith(TOOLKIT):
        assert only(node_of(host), "binaries").verdict is Verdict.WARNING
        host.set_up()
        assert ask(host.node()).missing == ()
    else:
        assert {each.verdict for each in found(node_of(host), "binaries")} == {Verdict.PROBLEM}
        with pytest.raises(EngineRejectedError, match="can't be executed") as raised:
            host.set_up()
        assert why in raised.value.message
    assert host.engine.restarts == restarts


def test_what_is_not_served_is_not_looked_at(tmp_path: Path) -> None:
    host = FaultHost(tmp_path, version=V2)
    missing = ask(host.node()).missing
    assert not any("executed" in each for each in missing), missing
    assert found(node_of(host), "binaries") == []


def test_the_runtimes_of_one_mode_need_the_binary_that_they_share(tmp_path: Path) -> None:
    host = FaultHost(tmp_path, version=V2)
    host.node()
    for each in (host.directory / "payload-1.0.0").rglob("nvidia-container-runtime.*"):
        each.unlink()
    host.set_up()
    (host.root / f"{RUNTIME}.real"[1:]).unlink()
    assert [each.split(":")[0] for each in ask(host.node()).missing] == [
        f"handler {name} can't be executed" for name in ("nvidia", "nvidia-cdi", "nvidia-legacy")
    ]


class TestThroughTheEnginesRoot:
    """An engine whose root directory is known."""

    @pytest.fixture
    def node(self, host: FaultHost) -> Node:
        return host.node()

    def faults(self, node: Node, root: Path, default: str | None = None) -> tuple[str, ...]:
        facts = node.control(node.settings.runtime or next(iter(node.settings.engines))).facts(0.0)
        assert facts.process is not None
        process: EngineProcess = replace(
            facts.process, root=str(root), search_path=("/usr/sbin", "/usr/bin")
        )
        record = node.store.load()
        assert record is not None
        expected = Expectation(served=record.handlers[:1], default=default)
        return faults_of(
            view_of(node, EngineName.CONTAINERD, process), expected, facts.served.config
        )

    def test_the_hosts_own_files_are_right(self, host: FaultHost, node: Node) -> None:
        assert self.faults(node, host.root) == ()

    def test_paths_below_another_root_than_the_hosts_are_not_taken_for_the_hosts(
        self, tmp_path: Path, host: FaultHost, node: Node
    ) -> None:
        assert self.faults(node, tmp_path) == ()
        (host.root / RUNTIME[1:]).unlink()
        (fault,) = self.faults(node, tmp_path)
        assert fault == f"handler nvidia can't be executed: {RUNTIME} is not there"

    def test_a_root_that_is_gone_tells_nothing(self, tmp_path: Path, node: Node) -> None:
        assert self.faults(node, tmp_path / "gone") == ()

    def test_a_default_handler_without_a_binary_is_looked_up_in_the_path(
        self, host: FaultHost, node: Node
    ) -> None:
        assert self.faults(node, host.root, default="runc") == ()
        (host.root / "usr/bin/runc").unlink()
        (fault,) = self.faults(node, host.root, default="runc")
        assert fault == (
            "the default handler runc can't be executed: runc is in no directory of the engine's "
            "PATH (/usr/sbin:/usr/bin)"
        )


def test_a_setup_whose_binaries_can_not_be_executed_is_rolled_back(tmp_path: Path) -> None:
    host = FaultHost(tmp_path, version=V2)
    before = host.tree()
    (host.root / "bin/sh").chmod(0o644)
    with pytest.raises(EngineRejectedError, match=r"/bin/sh, the interpreter of .* \(mode 0644\)"):
        host.set_up()
    (host.root / "bin/sh").chmod(0o755)
    assert host.tree() == before
    assert host.engine.up_to_date()


def test_a_repair_that_can_not_help_does_not_reload(host: FaultHost) -> None:
    (host.root / "bin/sh").unlink()
    restarts = host.engine.restarts
    with pytest.raises(EngineRejectedError):
        host.set_up(clock=UninterruptedClock(), repair=True)
    assert host.engine.restarts == restarts


def test_a_setup_that_has_to_see_a_run_is_rolled_back_where_another_binary_starts(
    tmp_path: Path,
) -> None:
    host = FaultHost(tmp_path, version=V2)
    before = host.tree()
    host.engine.starts = {"nvidia": "/usr/bin/runc"}
    with pytest.raises(EngineRejectedError, match=f"nvidia started /usr/bin/runc, not {RUNTIME};"):
        host.set_up(None, "--verify=run")
    assert host.tree() == before
    host.set_up()
    host.engine.starts = {}
    host.set_up(None, "--verify=run")


@pytest.mark.parametrize(
    ("device", "found"),
    [
        ("0:30", "tmpfs"),
        ("0:31", "ramfs"),
        ("0:2", "rootfs"),
        ("8:1", None),
        ("0:40", "overlay with its upper directory /run/live/rw on tmpfs"),
        ("0:41", None),
        ("0:42", None),
        ("0:99", None),
    ],
)
def test_a_file_system_in_memory_is_told_by_its_mounts(device: str, found: str | None) -> None:
    table = parse_mountinfo(
        "1 0 0:2 / / rw - rootfs rootfs rw\n"
        "2 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "3 2 0:30 / /run rw - tmpfs tmpfs rw,size=1k\n"
        "4 2 0:31 / /ram rw - ramfs ramfs rw\n"
        "5 2 0:40 / /live rw - overlay overlay rw,lowerdir=/ro,upperdir=/run/live/rw,workdir=/w\n"
        "6 2 0:41 / /disk rw - overlay overlay rw,lowerdir=/ro,upperdir=/var/up,workdir=/w\n"
        "7 2 0:42 / /read rw - overlay overlay ro,lowerdir=/ro\n"
    )
    assert memory_file_system(device, table, table) == found
