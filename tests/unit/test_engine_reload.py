from __future__ import annotations

import pytest

from runtime_configs.model import EngineName
from tests.fakes.node import FakeClock, FakeServices, FakeSignaller
from toolkit.engine.facts import EngineProcess, Supervisor
from toolkit.engine.reload import Method, Restarter, method
from toolkit.engine.wait import Deadline
from toolkit.errors import EngineNotFoundError, EngineTimeoutError
from toolkit.host.commands import CommandResult
from toolkit.host.services import Systemctl
from toolkit.settings import RestartMode

CONTAINERD, CRIO, DOCKER = EngineName.CONTAINERD, EngineName.CRIO, EngineName.DOCKER
AUTO, SIGNAL, BY_UNIT = RestartMode.AUTO, RestartMode.SIGNAL, RestartMode.SYSTEMD


def engine(
    supervisor: Supervisor = Supervisor.SYSTEMD,
    unit: str | None = "containerd.service",
    pid: int = 42,
) -> EngineProcess:
    return EngineProcess(
        pid=pid,
        start_time=pid * 100,
        executable="/usr/bin/containerd",
        arguments=(),
        supervisor=supervisor,
        unit=unit,
        parent_pid=1,
    )


@pytest.mark.parametrize(
    ("name", "process", "mode", "expected"),
    [
        (CONTAINERD, engine(), AUTO, Method.SIGNAL_THEN_UNIT),
        (CONTAINERD, engine(), SIGNAL, Method.SIGNAL),
        (CONTAINERD, engine(), BY_UNIT, Method.UNIT),
        (CONTAINERD, engine(unit="k3s.service"), AUTO, Method.UNIT),
        (CONTAINERD, engine(unit="rke2-agent.service"), SIGNAL, Method.UNIT),
        (CONTAINERD, engine(Supervisor.SELF, "k0sworker.service"), AUTO, Method.OWNER),
        (CONTAINERD, engine(Supervisor.PARENT, None), AUTO, Method.SIGNAL),
        (CONTAINERD, engine(Supervisor.NONE, None), SIGNAL, Method.SIGNAL),
        (CRIO, engine(unit="crio.service"), AUTO, Method.UNIT),
        (DOCKER, engine(Supervisor.NONE, None), AUTO, Method.LIVE),
        (DOCKER, engine(unit="docker.service"), BY_UNIT, Method.UNIT),
    ],
)
def test_the_method_fits_who_supervises_the_engine(
    name: EngineName, process: EngineProcess, mode: RestartMode, expected: Method
) -> None:
    assert method(name, process, mode) is expected


@pytest.mark.parametrize(
    ("name", "supervisor"),
    [(CONTAINERD, Supervisor.NONE), (CRIO, Supervisor.NONE), (CRIO, Supervisor.PARENT)],
)
def test_an_engine_that_nothing_would_bring_back_is_refused_naming_the_option(
    name: EngineName, supervisor: Supervisor
) -> None:
    with pytest.raises(EngineNotFoundError, match="--restart-mode"):
        method(name, engine(supervisor, None), AUTO)


class Node:
    """An engine that comes back a while after somebody starts it."""

    def __init__(self, *, supervised: bool, delay: float = 0.05) -> None:
        self.acts: list[str] = []
        self.clock = FakeClock()
        self.delay = delay
        self.back_at = float("inf")
        self.restarted = False
        started = self.begin
        signalled = self.begin if supervised else self.end
        self.signaller = FakeSignaller(self.acts, on_signal=signalled)
        self.services = FakeServices(self.acts, on_start=started)

    def begin(self) -> None:
        self.restarted = True
        self.back_at = self.clock.now() + self.delay

    def end(self) -> None:
        self.restarted = True

    def watch(self) -> tuple[bool, EngineProcess | None]:
        if not self.restarted:
            return True, engine()
        if self.clock.now() < self.back_at:
            return False, None
        return True, engine(pid=43)

    def restarter(self) -> Restarter:
        return Restarter(
            CONTAINERD,
            self.signaller,
            self.services,
            self.clock,
            watch=self.watch,
            answers=lambda _: True,
        )


def test_the_unit_is_started_as_soon_as_the_old_process_is_gone() -> None:
    node = Node(supervised=False)
    report = node.restarter().restart(engine(), Method.SIGNAL_THEN_UNIT, 10.0)
    assert node.acts == [
        "reset-failed containerd.service",
        "SIGHUP to 42",
        "gone",
        "restart containerd.service",
    ]
    assert report.process.pid == 43
    assert 0.0 < report.refused <= report.answering_after < 0.2


def test_a_supervised_engine_is_only_signalled() -> None:
    node = Node(supervised=True)
    process = engine(Supervisor.PARENT, None)
    node.restarter().restart(process, Method.SIGNAL, 10.0)
    assert node.acts == ["SIGHUP to 42", "gone"]


def test_the_units_restart_sends_no_signal_of_ours() -> None:
    node = Node(supervised=False)
    node.restarter().restart(engine(unit="k3s.service"), Method.UNIT, 10.0)
    assert node.acts == ["reset-failed k3s.service", "restart k3s.service"]


def test_an_engine_left_by_its_signal_is_started_by_its_unit_at_the_deadline() -> None:
    node = Node(supervised=False)
    with pytest.raises(EngineTimeoutError, match="did not come back"):
        node.restarter().restart(engine(), Method.SIGNAL, 1.0)
    assert node.acts[-2:] == ["reset-failed containerd.service", "start containerd.service"]


def test_what_is_left_to_its_owner_is_neither_signalled_nor_restarted() -> None:
    node = Node(supervised=False)
    process = engine(Supervisor.SELF, "k0sworker.service")
    with pytest.raises(EngineTimeoutError):
        node.restarter().restart(process, Method.OWNER, 1.0)
    assert node.acts == []


def test_a_process_that_is_another_one_by_now_is_not_signalled() -> None:
    node = Node(supervised=False)
    node.signaller.missing = True
    with pytest.raises(EngineNotFoundError):
        node.restarter().restart(engine(), Method.SIGNAL_THEN_UNIT, 1.0)
    assert node.acts == ["reset-failed containerd.service"]


def test_a_unit_that_will_not_start_is_named_with_systemds_reason() -> None:
    node = Node(supervised=False)
    node.services.refuses = "Unit containerd.service is masked."
    with pytest.raises(EngineTimeoutError, match="masked"):
        node.restarter().restart(engine(), Method.UNIT, 1.0)


@pytest.mark.parametrize("how", [Method.UNIT, Method.SIGNAL_THEN_UNIT])
def test_a_systemd_that_hangs_is_not_waited_for_beyond_the_deadline(how: Method) -> None:
    node = Node(supervised=False)

    class Hanging:
        def run(self, arguments: tuple[str, ...], seconds: float) -> CommandResult:
            del arguments
            node.clock.sleep(seconds)
            return CommandResult(status=-9, output=b"", errors="", timed_out=True)

    restarter = Restarter(
        CONTAINERD,
        node.signaller,
        Systemctl(Hanging()),
        node.clock,
        watch=node.watch,
        answers=lambda _: True,
    )
    with pytest.raises(EngineTimeoutError, match=r"containerd\.service .*timed out"):
        restarter.restart(engine(), how, 8.0)
    assert node.clock.now() == pytest.approx(8.0)
    with pytest.raises(EngineTimeoutError):
        restarter.start(engine(), 16.0)
    assert node.clock.now() <= 16.0 + 2.0


def test_an_engine_that_is_gone_is_started_by_its_unit() -> None:
    node = Node(supervised=False)
    node.end()
    report = node.restarter().start(engine(), 10.0)
    assert node.acts == ["reset-failed containerd.service", "start containerd.service"]
    assert report.process.pid == 43


def test_an_engine_that_does_not_come_back_is_named_with_the_limit_and_its_flag(
    capfd: pytest.CaptureFixture[str],
) -> None:
    clock = FakeClock()
    restarter = Restarter(
        CONTAINERD,
        FakeSignaller(),
        FakeServices(),
        clock,
        watch=lambda: (False, None),
        answers=lambda _: True,
    )
    deadline = Deadline.after(clock.now(), 40.0, "--verify-timeout")
    clock.time += 3.0  # passed before the engine is signalled
    with pytest.raises(EngineTimeoutError) as failure:
        restarter.restart(engine(), Method.SIGNAL_THEN_UNIT, deadline)
    assert failure.value.message == (
        "containerd did not come back within 40 s (SIGHUP, then its unit started at once)"
    )
    assert failure.value.hint == (
        "see `journalctl -u containerd.service` on the host;"
        " --verify-timeout sets the limit of 40 s"
    )
    said = [line.split(" INFO    ")[1] for line in capfd.readouterr().err.splitlines()]
    assert [each.partition(" seconds=")[0] for each in said] == [
        "waiting for containerd to come back",
        "waiting for containerd to come back",
    ]
    assert all(each.endswith(" up_to_seconds=40.000") for each in said)
