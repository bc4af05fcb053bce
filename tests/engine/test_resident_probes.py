"""What probes are told at each state of the engine: by the ready file, and over HTTP."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from testbed.containerd import RELEASES, RealContainerd
from testbed.program import Installer
from testbed.supervised import wait_for
from tests.engine.resident import (
    INTERVAL,
    free_port,
    installer_of,
    probe,
    wait_idle,
    wait_probe,
)
from toolkit.daemon.observe import SOCKET_SECONDS

pytestmark = [
    pytest.mark.engine,
    pytest.mark.parametrize(
        "containerd_release",
        [each for each in RELEASES if each.series == "1.7"],
        ids=lambda each: f"containerd-{each.series}",
    ),
]


class Probed:
    """A node that is probed by the file and over HTTP."""

    def __init__(self, containerd: RealContainerd) -> None:
        self.engine = containerd
        self.port = free_port()
        address = f"127.0.0.1:{self.port}"
        self.installer: Installer = installer_of(containerd, TOOLKIT_HEALTH_ADDRESS=address)

    def ready(self) -> bool:
        """Return what both say, which is the same."""
        return self.installer.ready_file.exists() and probe(self.port, "/readyz") == (
            200,
            "ready\n",
        )

    def unready(self) -> bool:
        return not self.installer.ready_file.exists() and probe(self.port, "/readyz")[0] == 503

    def metric(self, name: str) -> float:
        """Return one sample of ``/metrics``."""
        code, text = probe(self.port, "/metrics")
        assert code == 200
        samples = dict(
            line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")
        )
        return float(samples[f"nvidia_toolkit_{name}"])


@pytest.fixture
def node(containerd: RealContainerd) -> Iterator[Probed]:
    containerd.start()
    probed = Probed(containerd)
    probed.installer.start()
    wait_idle(probed.installer)
    yield probed
    probed.installer.end()


def test_a_node_that_is_set_up_is_ready_and_its_figures_are_told(node: Probed) -> None:
    assert node.ready()
    assert probe(node.port, "/healthz") == (200, "ok\n")
    assert probe(node.port, "/") == (404, "")
    assert node.metric('state{state="ready"}') == 1
    assert node.metric("reloads_total") == 1
    assert node.metric("repairs_total") == 0
    assert node.metric("engine_downtime_seconds") > 0
    assert node.metric("setup_seconds") > 0


def test_an_engine_that_is_stopped_is_told_within_an_interval_and_its_return_too(
    node: Probed,
) -> None:
    node.engine.process.hold()
    node.engine.process.kill(signal.SIGKILL)
    wait_for(node.unready, "both to say that it is not ready")
    assert probe(node.port, "/healthz") == (200, "ok\n")
    time.sleep(4 * INTERVAL)
    assert node.unready()
    assert node.metric("rollbacks_total") == 0
    node.engine.process.release()
    wait_for(node.ready, "both to say that it is ready again")


def test_an_engine_that_hangs_is_told_though_its_socket_takes_connections(node: Probed) -> None:
    os.kill(node.engine.process.pid, signal.SIGSTOP)
    try:
        wait_for(node.unready, "both to say that it is not ready")
    finally:
        os.kill(node.engine.process.pid, signal.SIGCONT)
    wait_for(node.ready, "both to say that it is ready again")


def test_probes_and_signals_have_their_answer_while_an_engine_hangs(node: Probed) -> None:
    os.kill(node.engine.process.pid, signal.SIGSTOP)
    try:
        wait_for(node.unready, "both to say that it is not ready")
        answered = 0
        end = time.monotonic() + 2 * SOCKET_SECONDS
        while time.monotonic() < end:
            assert node.unready()
            answered += 1
        assert answered > 3, "of which each would wait for the engine, SOCKET_SECONDS long"
    finally:
        os.kill(node.engine.process.pid, signal.SIGCONT)
    wait_for(node.ready, "both to say that it is ready again")


def test_a_slow_engine_that_answers_in_time_stays_ready(node: Probed) -> None:
    with often_stopped(node.engine):
        end = time.monotonic() + 5
        while time.monotonic() < end:
            assert node.ready()
            time.sleep(0.1)
    assert "something differs" not in node.installer.log()


def test_an_engine_that_starts_slowly_is_called_ready_only_once_it_serves(node: Probed) -> None:
    spawned = len(node.engine.process.events()) + 2
    node.engine.process.kill(signal.SIGKILL)
    wait_for(lambda: len(node.engine.process.events()) >= spawned, "its next start")
    os.kill(node.engine.process.pid, signal.SIGSTOP)
    try:
        wait_for(node.unready, "both to say that it is not ready")
        end = time.monotonic() + 3
        while time.monotonic() < end:
            assert node.unready()
            time.sleep(0.1)
    finally:
        os.kill(node.engine.process.pid, signal.SIGCONT)
    wait_for(node.ready, "both to say that it is ready again")
    assert node.metric("repairs_total") == 0


@contextmanager
def often_stopped(engine: RealContainerd) -> Iterator[None]:
    """Let an engine run for a tenth of the time only."""
    done = threading.Event()

    def stop_and_go() -> None:
        while not done.wait(0.05):
            os.kill(engine.process.pid, signal.SIGSTOP)
            done.wait(0.45)
            os.kill(engine.process.pid, signal.SIGCONT)

    thread = threading.Thread(target=stop_and_go)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_an_engine_that_comes_back_broken_is_never_called_ready(node: Probed) -> None:
    content = node.engine.config.read_text()
    node.engine.process.hold()
    node.engine.process.kill(signal.SIGKILL)
    node.engine.config.write_text("this is not TOML")
    node.engine.process.release()
    wait_for(node.unready, "both to say that it is not ready")
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert node.unready()
        time.sleep(0.1)
    node.engine.config.write_text(content)
    wait_for(node.ready, "both to say that it is ready again")


def test_a_ready_file_that_somebody_removed_comes_back(node: Probed) -> None:
    node.installer.ready_file.unlink()
    wait_for(node.installer.ready_file.exists, "the ready file")


def test_a_pid_file_that_somebody_removed_is_made_and_locked_anew(node: Probed) -> None:
    node.installer.pid_file.unlink()
    wait_for(node.installer.pid_file.exists, "the pid file")
    wait_idle(node.installer)
    assert node.installer.run().returncode == 4
    assert node.installer.stop() == 0, node.installer.log()
    assert not node.installer.pid_file.exists()


def test_repairs_are_counted_and_told_while_they_last(node: Probed) -> None:
    # An edit that stays in the file: the engine has to load it.
    node.engine.config.write_text("version = 2\noom_score = -5\n")
    wait_for(node.unready, "both to say that it is not ready")
    wait_for(node.ready, "both to say that it is ready again")
    assert node.metric("repairs_total") == 1
    assert node.metric("reloads_total") == 2


def test_at_the_end_nothing_is_ready_and_nobody_listens(node: Probed) -> None:
    assert node.installer.stop() == 0, node.installer.log()
    assert not node.installer.ready_file.exists()
    with pytest.raises(OSError, match="refused"):
        probe(node.port, "/healthz")


def test_a_thousand_silent_connections_and_one_that_dribbles_hold_up_neither_probes_nor_a_stop(
    node: Probed,
) -> None:
    with ExitStack() as stack:

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", node.port), 60))

        def dribble() -> None:
            while not done.wait(0.05):
                with suppress(OSError), socket.create_connection(("127.0.0.1", node.port)) as slow:
                    while not done.wait(0.05):
                        slow.sendall(b"x")

        done = threading.Event()
        thread = threading.Thread(target=dribble)
        thread.start()
        stack.callback(thread.join)
        stack.callback(done.set)
        for _ in range(3):
            for _ in range(1000):
                connect()
            # None of them says or closes anything before the answer is there.
            assert probe(node.port, "/healthz") == (200, "ok\n")
        assert node.installer.stop() == 0, node.installer.log()


def test_a_port_that_is_taken_is_a_usage_error_before_anything_is_touched(node: Probed) -> None:
    other = node.installer.run(f"--pid-file={node.installer.directory}/other/toolkit.pid")
    assert other.returncode == 2
    assert f"TOOLKIT_HEALTH_ADDRESS 127.0.0.1:{node.port}" in other.stderr
    assert not (node.installer.directory / "other").exists()
    wait_probe(node.port, "/readyz", 200)
