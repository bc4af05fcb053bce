"""`doctor` makes the plan that a setup would make, and reads the journal."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.faults.node_host import CONFIG, FaultHost
from tests.unit.doctor_host import node_of, only
from toolkit.daemon.handover import VARIABLE
from toolkit.errors import HostPathError
from toolkit.host.lock_look import flock_holder
from toolkit.report.doctor import Verdict, checks, examine
from toolkit.report.doctor.context import Context

JOURNAL = "/usr/local/nvidia/.toolkit-journal"


@pytest.fixture
def host(tmp_path: Path) -> FaultHost:
    return FaultHost(tmp_path)


def test_the_plan_of_a_fresh_host_is_told(host: FaultHost) -> None:
    node = node_of(host)
    plan = only(node, "plan")
    assert plan.verdict is Verdict.OK
    assert plan.message.startswith("1 file of the engine to change; reload: ")
    assert only(node, "journal").message == "nothing is set up"
    assert {each.verdict for each in examine(node)} <= {Verdict.OK, Verdict.WARNING}


def test_a_plan_that_refuses_is_a_problem_with_the_errors_own_hint(host: FaultHost) -> None:
    host.place(CONFIG, b"version = 2\n[broken\n")
    plan = only(node_of(host), "plan")
    assert plan.verdict is Verdict.PROBLEM
    assert CONFIG in plan.message


def test_a_payload_that_is_incomplete_is_told_once(host: FaultHost) -> None:
    node = node_of(host)
    (host.directory / "payload-1.0.0").rename(host.directory / "elsewhere")
    assert only(node, "payload").verdict is Verdict.PROBLEM
    assert only(node, "plan").verdict is Verdict.UNKNOWN


def test_cdi_without_a_driver_is_a_problem_where_nobody_stays_to_wait(host: FaultHost) -> None:
    cdi = ("--cdi-enabled", "--driver-root-ctr-path=/none")
    assert only(node_of(host, *cdi), "driver").verdict is Verdict.WARNING
    driver = only(node_of(host, *cdi, "--no-daemon"), "driver")
    assert driver.verdict is Verdict.PROBLEM
    assert "without --no-daemon" in driver.fix


def test_a_journal_of_a_newer_version_is_a_problem_and_no_plan_is_made(host: FaultHost) -> None:
    host.set_up()
    assert only(node_of(host), "journal").message.startswith("committed by version ")
    path = host.root / JOURNAL[1:] / "journal.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text()), "schema": {"major": 99, "minor": 0}})
    )
    node = node_of(host)
    journal, plan = only(node, "journal"), only(node, "plan")
    assert journal.verdict is Verdict.PROBLEM
    assert "journal.json" in journal.message
    assert plan.verdict is Verdict.UNKNOWN
    assert plan.message.startswith("not looked at: ")
    assert only(node, "engine").verdict is Verdict.OK


def test_an_interrupted_set_up_is_told(host: FaultHost) -> None:
    host.set_up()
    directory = host.root / JOURNAL[1:]
    (directory / "intent.json").write_bytes((directory / "journal.json").read_bytes())
    journal = only(node_of(host), "journal")
    assert journal.verdict is Verdict.WARNING
    assert "interrupted" in journal.message


@pytest.mark.parametrize(("namespace", "verdict"), [("1", Verdict.OK), ("2", Verdict.WARNING)])
def test_the_daemon_of_the_container_that_doctor_runs_in_is_no_other_instance(
    host: FaultHost, namespace: str, verdict: Verdict
) -> None:
    node = node_of(host, "--pid-file=/run/toolkit.pid")
    host.place("/run/toolkit.pid", b"77\n")
    state = (host.root / "run/toolkit.pid").stat()
    device = f"{os.major(state.st_dev):02x}:{os.minor(state.st_dev):02x}"
    proc = Path(node.root.proc)
    (proc / "locks").write_text(f"1: FLOCK ADVISORY WRITE 77 {device}:{state.st_ino} 0 EOF\n")
    for pid, inode in (("self", "1"), ("77", namespace)):
        (proc / pid / "ns").mkdir(parents=True)
        (proc / pid / "ns/mnt").symlink_to(f"mnt:[{inode}]")
    (proc / "77/environ").write_text(f"A=b\0{VARIABLE}=77:5:{node.store.install_dir}\0")
    assert only(node, "lock").verdict is verdict


def test_a_live_instance_is_noticed_without_trying_its_lock(host: FaultHost) -> None:
    node = node_of(host, "--pid-file=/run/toolkit.pid")
    assert only(node, "lock").verdict is Verdict.OK
    host.place("/run/toolkit.pid", b"%d\n" % os.getpid())
    assert only(node, "lock").verdict is Verdict.OK
    path = host.root / "run/toolkit.pid"
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        locks = Path("/proc/locks").read_text()
        assert flock_holder(locks, path.stat(), b"") == os.getpid()
        live = replace(node, root=replace(node.root, proc="/proc"))
        lock = only(live, "lock")
    assert lock.verdict is Verdict.PROBLEM
    assert lock.message.endswith(f" locked by another instance, PID {os.getpid()}")
    assert "/run/toolkit.pid" in lock.message


def test_the_pid_in_the_file_tells_where_the_devices_differ(tmp_path: Path) -> None:
    state = tmp_path.stat()
    locks = f"1: POSIX  ADVISORY  READ 7 00:ff:{state.st_ino} 0 EOF\n"
    locks += f"2: FLOCK  ADVISORY  WRITE 42 00:ff:{state.st_ino} 0 EOF\n"
    assert flock_holder(locks, state, b"42\n") == 42
    assert flock_holder(locks, state, b"7\n") is None


def test_a_check_that_fails_is_not_looked_at_and_ends_no_other(
    host: FaultHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_us(_: Context) -> None:
        raise HostPathError("cannot read /x", "fix it")

    def by_the_kernel(_: Context) -> None:
        raise PermissionError(13, "Permission denied", "/y")

    failing = (("one", by_us), ("other", by_the_kernel))
    monkeypatch.setattr(checks, "CHECKS", (*failing, *checks.CHECKS))
    node = node_of(host)
    assert only(node, "one").message == "not looked at: cannot read /x; fix it"
    assert only(node, "other").message == "not looked at: /y: Permission denied"
    assert only(node, "plan").verdict is Verdict.OK


def test_what_hangs_on_the_engine_is_not_looked_at_where_it_is_down(host: FaultHost) -> None:
    node = node_of(host)
    host.engine.running, host.engine.effective = False, None
    assert only(node, "engine").verdict is Verdict.PROBLEM
    for check in ("CRI", "restart"):
        assert only(node, check).verdict is Verdict.UNKNOWN
