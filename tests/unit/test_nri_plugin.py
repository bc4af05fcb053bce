"""The plugin with its threads, against an engine that can be made to misbehave."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypedDict

import pytest

from testbed.nri_engine import FakeEngine, creation, devices
from toolkit.logs import Log
from toolkit.nri.devices import DeviceChoice, Policy, decide
from toolkit.nri.plugin import LONGEST_WAIT, NriState, NriStatus, Plugin, retry_waits
from toolkit.nri.protos.nri_pb2 import Container, PodSandbox

ASKED = {"nvidia.cdi.k8s.io": "nvidia.com/gpu=0"}


class Settings(TypedDict):
    index: int
    namespaces: frozenset[str]
    socket: str


SETTINGS = Settings(
    index=7,
    namespaces=frozenset({"gpu-operator", "monitoring"}),
    socket="/var/run/nri/nri.sock",
)


class Recorded(Log):
    """A log that keeps its lines, and blocks while it is told to."""

    def __init__(self) -> None:
        super().__init__(__name__)
        self.lines: list[tuple[str, str, dict[str, object]]] = []
        self.open = threading.Event()
        self.open.set()

    def _line(self, event: str, message: str, fields: dict[str, object]) -> None:
        self.open.wait(10)
        self.lines.append((event, message, fields))

    def step(self, event: str, message: str, /, **fields: object) -> None:
        self._line(event, message, fields)

    def warning(self, event: str, message: str, /, **fields: object) -> None:
        self._line(event, message, fields)

    def error(self, event: str, message: str, /, **fields: object) -> None:
        self._line(event, message, fields)

    def named(self, event: str) -> list[dict[str, object]]:
        return [
            {"message": message, **fields} for name, message, fields in self.lines if name == event
        ]


class Node:
    """An engine, a plugin, and what the plugin told."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "nri.sock"
        self.engine = FakeEngine(self.path)
        self.log = Recorded()
        self.states: list[NriStatus] = []
        self.plugin: Plugin | None = None

    def start(
        self, decide_devices: Callable[[PodSandbox, Container, Policy], DeviceChoice] = decide
    ) -> Plugin:
        self.plugin = Plugin(
            **SETTINGS,
            cdi_kind="management.nvidia.com/gpu",
            socket_path=str(self.path),
            on_state=self.states.append,
            log=self.log,
            decide_devices=decide_devices,
        )
        self.plugin.start()
        return self.plugin

    def stop(self) -> None:
        self.engine.close()
        if self.plugin is not None:
            self.plugin.stop()
            self.plugin = None


def until(look: Callable[[], object], timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def runs() -> bool:
    """Tell whether a plugin's thread still runs."""
    return any(each.name == "nri-engine" for each in threading.enumerate())


def taken_up(plugin: Plugin, times: int) -> bool:
    return plugin.status.ready and plugin.status.registrations == times


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    try:
        yield node
    finally:
        node.log.open.set()
        node.stop()


def test_a_registered_plugin_is_ready_and_gives_devices(node: Node) -> None:
    plugin = node.start()
    assert not plugin.status.ready
    node.engine.register()
    until(lambda: plugin.status.ready)
    assert node.engine.registration.plugin_idx == "07"
    assert plugin.status.engine == "containerd v2.1.9"
    assert devices(node.engine.ask("CreateContainer", creation(ASKED))) == ["nvidia.com/gpu=0"]
    assert devices(node.engine.ask("CreateContainer", creation())) == []


def test_a_management_device_is_refused_with_the_pods_name(node: Node) -> None:
    node.start()
    node.engine.register()
    wanted = {"nvidia.cdi.k8s.io": "management.nvidia.com/gpu=all,0,nvidia.com/gpu=0"}
    answer = node.engine.ask("CreateContainer", creation(wanted, "default"))
    assert devices(answer) == ["nvidia.com/gpu=0"]
    until(lambda: node.log.named("nri.devices_added"))
    (refused,) = node.log.named("nri.management_device_refused")
    assert refused["pod"] == "default/pod"
    assert refused["devices"] == ["management.nvidia.com/gpu=all"]
    (invalid,) = node.log.named("nri.invalid_device_name")
    assert (invalid["pod"], invalid["names"]) == ("default/pod", ["0"])
    for namespace in ("gpu-operator", "monitoring"):
        answer = node.engine.ask("CreateContainer", creation(wanted, namespace))
        assert devices(answer) == ["management.nvidia.com/gpu=all", "nvidia.com/gpu=0"]


def test_a_failing_decision_is_an_empty_answer_and_an_error_in_the_log(node: Node) -> None:
    def failing(pod: PodSandbox, container: Container, policy: Policy) -> DeviceChoice:
        if container.name == "bad":
            raise RuntimeError("broken")
        return decide(pod, container, policy)

    node.start(failing)
    node.engine.register()
    answer = node.engine.ask("CreateContainer", creation(ASKED, container="bad"))
    assert devices(answer) == []
    assert not answer.HasField("status")
    assert devices(node.engine.ask("CreateContainer", creation(ASKED))) == ["nvidia.com/gpu=0"]
    until(lambda: node.log.named("nri.container_without_devices"))
    assert "broken" in str(node.log.named("nri.container_without_devices")[0]["message"])


def test_a_log_that_nobody_reads_holds_nothing_up(node: Node) -> None:
    node.start()
    node.engine.register()
    node.log.open.clear()
    for _ in range(1200):
        answer = node.engine.ask("CreateContainer", creation(ASKED))
        assert devices(answer) == ["nvidia.com/gpu=0"]
    node.log.open.set()
    until(lambda: node.log.named("nri.lines_dropped"))
    assert len(node.log.lines) < 1100


def test_the_plugin_comes_back_whenever_the_engine_does(node: Node) -> None:
    plugin = node.start()
    for times in (1, 2, 3):
        node.engine.register()
        until(partial(taken_up, plugin, times))
        node.engine.drop()
        until(lambda: not plugin.status.ready)
    node.engine.register()
    until(lambda: plugin.status.ready)
    expected = [NriState.CONNECTING, NriState.REGISTERED] * 4
    until(lambda: expected == [status.state for status in node.states])
    assert node.states[2].reason == "the engine closed the connection"


def test_an_engine_that_speaks_something_else_is_left_and_tried_again(node: Node) -> None:
    plugin = node.start()
    node.engine.accept()
    node.engine.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    until(lambda: "NRI allows" in plugin.status.reason)
    node.engine.register()
    until(lambda: plugin.status.ready)


def test_a_socket_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    log = Recorded()
    path = tmp_path / "late" / "nri.sock"
    plugin = Plugin(**SETTINGS, cdi_kind="a/b", socket_path=str(path), log=log)
    plugin.start()
    until(lambda: "No such file" in plugin.status.reason)
    path.parent.mkdir()
    engine = FakeEngine(path)
    engine.register()
    until(lambda: plugin.status.ready)
    until(lambda: log.named("nri.registered"))
    assert len(log.named("nri.disconnected")) == 1
    engine.close()
    plugin.stop()


def test_a_registration_that_the_engine_refuses_is_tried_again(node: Node) -> None:
    plugin = node.start()
    node.engine.accept()
    node.engine.drop()
    until(lambda: plugin.status.reason != "")
    node.engine.register()
    until(lambda: plugin.status.ready)


def test_stopping_answers_what_is_open_and_then_ends_our_side_first(node: Node) -> None:
    go_on = threading.Event()

    def waiting(pod: PodSandbox, container: Container, policy: Policy) -> DeviceChoice:
        go_on.wait(60)
        return decide(pod, container, policy)

    plugin = node.start(waiting)
    node.engine.register()
    stream = node.engine.begin("CreateContainer", creation(ASKED))
    time.sleep(0.05)
    stopping = threading.Thread(target=plugin.stop)
    stopping.start()
    time.sleep(0.1)
    go_on.set()
    connection, answered, _, envelope = node.engine.read()
    assert (connection, answered, devices(envelope)) == (1, stream, ["nvidia.com/gpu=0"])
    with pytest.raises(EOFError):
        node.engine.read()
    node.engine.drop()
    stopping.join()
    assert plugin.status.state is NriState.STOPPED
    assert node.states[-1].state is NriState.STOPPED
    node.plugin = None


def test_stopping_without_an_engine_ends_the_wait_for_the_next_attempt(tmp_path: Path) -> None:
    plugin = Plugin(**SETTINGS, cdi_kind="a/b", socket_path=str(tmp_path / "no"), log=Recorded())
    plugin.start()
    until(lambda: "No such file" in plugin.status.reason)
    assert runs()
    plugin.stop()
    assert not runs()


def test_a_mute_engine_does_not_hold_up_the_stop(node: Node) -> None:
    plugin = node.start()
    node.engine.register()
    until(lambda: plugin.status.ready)
    # The engine neither answers nor closes the connection.
    plugin.stop()
    assert not runs()
    node.plugin = None


def test_an_engine_without_cdi_adjustments_is_warned_about(node: Node) -> None:
    plugin = node.start()
    node.engine.register(request_timeout=0)
    until(lambda: plugin.status.ready)
    until(lambda: node.log.named("nri.engine_too_old"))


def test_a_listener_that_fails_does_not_stop_the_plugin(tmp_path: Path) -> None:
    def failing(_status: NriStatus) -> None:
        raise OSError("disk full")

    log = Recorded()
    path = tmp_path / "nri.sock"
    engine = FakeEngine(path)
    plugin = Plugin(**SETTINGS, cdi_kind="a/b", socket_path=str(path), on_state=failing, log=log)
    plugin.start()
    engine.register()
    until(lambda: plugin.status.ready)
    assert devices(engine.ask("CreateContainer", creation(ASKED))) == ["nvidia.com/gpu=0"]
    engine.close()
    plugin.stop()
    assert log.named("nri.report_failed")


def test_the_wait_between_attempts_doubles_up_to_a_limit() -> None:
    waits = list(islice(retry_waits(), 10))
    assert waits[:3] == [0.1, 0.2, 0.4]
    assert waits[-1] == LONGEST_WAIT
