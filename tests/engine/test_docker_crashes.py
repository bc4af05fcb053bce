"""A setup or revert of a real dockerd that ends at any step is settled by the next run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from runtime_configs.model import EngineName
from testbed.dockerd import RealDockerd
from testbed.program import HANDLERS
from testbed.sample_payload import make_sample_payload
from tests.fakes.faulty_writer import CrashPoint, FaultyWriter
from tests.unit.cli_session import settings_of
from toolkit.apply.setup import set_up
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import (
    EngineProcess,
    Expectation,
    HandlerRun,
    HoldReport,
    HostFacts,
    ReloadReport,
)
from toolkit.errors import EngineTimeoutError, NotRestoredError
from toolkit.host.clock import Clock, UninterruptedClock
from toolkit.journal.store import JournalStore
from toolkit.node import Node, open_node
from toolkit.payload.installer import PayloadInstaller
from toolkit.settings import RestartMode
from toolkit.undo.recovery import recover
from toolkit.undo.revert import revert_record

pytestmark = pytest.mark.engine
CONFIG = b'{\n  "features": {"buildkit": true},\n  "debug": false\n}\n'


@dataclass(slots=True)
class Ends:
    """Fulfils ``EngineControl``; the process ends before or after the N-th reload."""

    real: EngineControl
    step: Callable[[str], None]
    name: EngineName = field(default=EngineName.DOCKER)

    def facts(self, deadline: float) -> HostFacts:
        return self.real.facts(deadline)

    def preflight(self, process: EngineProcess, mode: RestartMode) -> None:
        self.real.preflight(process, mode)

    def reload(
        self, process: EngineProcess, mode: RestartMode, clock: Clock, deadline: float
    ) -> ReloadReport:
        self.step("before a reload")
        report = self.real.reload(process, mode, clock, deadline)
        self.step("after a reload")
        return report

    def start(self, process: EngineProcess, clock: Clock, deadline: float) -> ReloadReport:
        return self.real.start(process, clock, deadline)

    def verify(self, expected: Expectation, clock: Clock, deadline: float) -> None:
        self.real.verify(expected, clock, deadline)

    def run_handlers(
        self, handlers: Sequence[str], clock: Clock, deadline: float
    ) -> tuple[HandlerRun, ...]:
        return self.real.run_handlers(handlers, clock, deadline)

    def held(self, toolkit_dir: str) -> HoldReport:
        return self.real.held(toolkit_dir)

    def own_container_running(self, deadline: float) -> bool | None:
        return self.real.own_container_running(deadline)


def node_of(dockerd: RealDockerd, at: int | None = None) -> tuple[Node, FaultyWriter]:
    """Return the host whose process ends at a step, and the steps."""
    if not (dockerd.directory / "payload").exists():
        make_sample_payload(dockerd.directory / "payload")
    settings = settings_of(
        "--runtime=docker",
        "--host-root=/",
        f"--config={dockerd.config}",
        f"--socket={dockerd.socket}",
        f"--toolkit-install-dir={dockerd.directory}/nvidia",
        f"--toolkit-source-root={dockerd.directory}/payload",
        "--toolkit-package-type=deb",
        "--verify-timeout=10",
        "--enable-cdi-in-runtime",
    )
    real = open_node(settings)
    writer = FaultyWriter(real=real.writer, at=at, fault=CrashPoint)

    def control(name: EngineName, socket: str | None = None) -> EngineControl:
        return Ends(real.control(name, socket), lambda what: writer._step("reload", what))

    directory = real.root.host_path(settings.install_dir)
    store = JournalStore(writer=writer, view=real.view, install_dir=directory)
    installer = PayloadInstaller(settings=settings, root=real.root, writer=writer)
    node = replace(real, writer=writer, store=store, installer=installer, control=control)
    return node, writer


def start(node: Node) -> None:
    recover(node)
    set_up(node, UninterruptedClock(), patience=5.0)


def revert(node: Node) -> None:
    record = recover(node)
    if record is not None:
        revert_record(node, record)


def assert_as_before(dockerd: RealDockerd, where: str) -> None:
    info = dockerd.info()
    assert info["DefaultRuntime"] == "runc", where
    assert not set(HANDLERS) & set(info["Runtimes"]), where
    assert dockerd.config.read_bytes() == CONFIG, where
    assert not (dockerd.directory / "nvidia").exists(), where


def assert_served(dockerd: RealDockerd, where: str) -> None:
    info = dockerd.info()
    assert info["DefaultRuntime"] == "nvidia", where
    assert set(HANDLERS) <= set(info["Runtimes"]), where


@pytest.fixture
def running(dockerd: RealDockerd) -> RealDockerd:
    dockerd.config.write_bytes(CONFIG)
    dockerd.start()
    return dockerd


@pytest.mark.parametrize("then", ["revert", "start"])
def test_a_revert_that_ends_at_any_step_is_finished_by_the_next_run(
    running: RealDockerd, then: str
) -> None:
    pid = running.process.pid
    at = 0
    while True:
        start(node_of(running)[0])
        assert_served(running, "set up")
        node, writer = node_of(running, at)
        try:
            revert(node)
        except CrashPoint:
            where = f"step {at}: {writer.done[-1]}"
        else:
            break
        if then == "start":
            start(node_of(running)[0])
            assert_served(running, where)
        revert(node_of(running)[0])
        assert_as_before(running, where)
        at += 1
    assert_as_before(running, "no crash")
    assert at > 6
    assert running.process.pid == pid


def test_a_set_up_that_ends_at_any_step_is_finished_or_undone_by_a_revert(
    running: RealDockerd,
) -> None:
    pid = running.process.pid
    at = 0
    while True:
        node, writer = node_of(running, at)
        try:
            start(node)
        except CrashPoint:
            where = f"step {at}: {writer.done[-1]}"
        else:
            break
        if (running.directory / "nvidia/.toolkit-journal").exists():
            revert(node_of(running)[0])
        info = running.info()
        assert info["DefaultRuntime"] == "runc", where
        assert not set(HANDLERS) & set(info["Runtimes"]), where
        assert running.config.read_bytes() == CONFIG, where
        at += 1
    revert(node_of(running)[0])
    assert_as_before(running, "no crash")
    assert running.process.pid == pid


def test_a_dockerd_that_is_mute_during_the_revert_is_freed_by_the_next_one(
    running: RealDockerd,
) -> None:
    start(node_of(running)[0])
    node, _ = node_of(running)
    real = node.control(EngineName.DOCKER)

    class Mute(Ends):
        def reload(
            self, process: EngineProcess, mode: RestartMode, clock: Clock, deadline: float
        ) -> ReloadReport:
            del process, mode, clock, deadline
            raise EngineTimeoutError("it does not answer")

    mute = Mute(real, lambda _: None)
    with pytest.raises(NotRestoredError):
        revert(replace(node, control=lambda _name, _socket=None: mute))
    assert running.config.read_bytes() == CONFIG
    assert (running.directory / "nvidia/toolkit").exists()
    revert(node_of(running)[0])
    assert_as_before(running, "afterwards")
