"""A repair reloads the engine only for what its process has not loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from runtime_configs.model import EngineName, Version
from tests.faults.node_host import DROP_IN, FaultHost
from toolkit.apply.plan import without_needless_reload
from toolkit.apply.setup import set_up
from toolkit.apply.steps import Planned, make_plan
from toolkit.engine.facts import Supervisor
from toolkit.host.clock import UninterruptedClock

V2 = Version(major=2, minor=1)
Verified = tuple[int, int] | None


@pytest.fixture
def host(tmp_path: Path) -> FaultHost:
    made = FaultHost(tmp_path, version=V2)
    made.set_up()
    return made


def verified(host: FaultHost) -> Verified:
    process = host.engine.facts(0.0).process
    assert process is not None
    return process.pid, process.start_time


def reloads_of_a_repair(host: FaultHost, last: Verified) -> int:
    """Repair; return how often the engine was reloaded. It serves our drop-in afterwards."""
    before = host.engine.restarts
    set_up(host.node(), UninterruptedClock(), patience=0.0, repair=True, verified=last)
    assert host.engine.up_to_date()
    return host.engine.restarts - before


def change(host: FaultHost, old: bytes, new: bytes) -> None:
    content = host.read(DROP_IN)
    assert content is not None
    assert old in content
    host.place(DROP_IN, content.replace(old, new))


def test_a_drop_in_that_was_deleted_is_restored_without_a_reload(host: FaultHost) -> None:
    ours, last = host.read(DROP_IN), verified(host)
    (host.root / DROP_IN[1:]).unlink()
    assert reloads_of_a_repair(host, last) == 0
    assert host.read(DROP_IN) == ours


def test_an_edit_within_our_part_is_undone_without_a_reload(host: FaultHost) -> None:
    last = verified(host)
    change(host, b"BinaryName", b"Root = '/run/theirs'\nBinaryName")
    assert reloads_of_a_repair(host, last) == 0
    assert b"theirs" not in (host.read(DROP_IN) or b"")


def test_an_engine_that_was_restarted_meanwhile_is_reloaded(host: FaultHost) -> None:
    last = verified(host)
    change(host, b"BinaryName", b"Root = '/run/theirs'\nBinaryName")
    host.engine.boot()
    assert reloads_of_a_repair(host, last) == 1


def test_another_process_with_the_same_pid_is_reloaded(host: FaultHost) -> None:
    last = verified(host)
    assert last is not None
    (host.root / DROP_IN[1:]).unlink()
    assert reloads_of_a_repair(host, (last[0], last[1] - 1)) == 1


def test_an_engine_that_was_not_seen_to_serve_is_reloaded(host: FaultHost) -> None:
    (host.root / DROP_IN[1:]).unlink()
    assert reloads_of_a_repair(host, None) == 1


def test_an_edit_that_stays_in_the_file_is_loaded_by_a_reload(tmp_path: Path) -> None:
    host = FaultHost(tmp_path)
    host.set_up()
    last = verified(host)
    host.place(host.top_level, b"version = 2\noom_score = -5\n")
    assert reloads_of_a_repair(host, last) == 1


def test_an_engine_that_serves_another_default_is_reloaded(host: FaultHost) -> None:
    last = verified(host)
    (host.root / DROP_IN[1:]).unlink()
    assert host.engine.effective is not None
    host.engine.effective = replace(host.engine.effective, default="runc")
    assert reloads_of_a_repair(host, last) == 1


@pytest.mark.parametrize(
    ("engine", "supervisor"),
    [
        (EngineName.CRIO, Supervisor.SYSTEMD),
        (EngineName.DOCKER, Supervisor.SYSTEMD),
        (EngineName.CONTAINERD, Supervisor.SELF),
    ],
)
def test_an_engine_that_may_have_loaded_the_files_meanwhile_is_reloaded(
    host: FaultHost, engine: EngineName, supervisor: Supervisor
) -> None:
    node, last = host.node(), verified(host)
    (host.root / DROP_IN[1:]).unlink()
    record = node.store.load()
    step = make_plan(node, record, UninterruptedClock(), patience=0.0)
    assert isinstance(step, Planned)
    plan, facts = step.plan, step.plan.facts
    assert facts is not None
    assert facts.process is not None
    spared = without_needless_reload(plan, record, node.store.blob, last)
    assert not spared.reload.needed
    facts = replace(facts, engine=engine, process=replace(facts.process, supervisor=supervisor))
    plan = replace(plan, facts=facts)
    assert without_needless_reload(plan, record, node.store.blob, last) == plan
