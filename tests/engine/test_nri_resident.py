"""The process that stays in NRI mode: what it execs from and back into, and what it keeps true."""

from __future__ import annotations

import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from google import protobuf

from testbed.nri_engine import FakeEngine
from testbed.supervised import wait_for
from tests.kept import Kept
from toolkit.daemon.keeper_state import Watch
from toolkit.daemon.observe import signature

MOST_RESIDENT = 24 << 10
"""KiB at the peak; 5 MiB of it is the protobuf runtime."""


class Resident:
    """The process, and the engine that it serves."""

    def __init__(self, directory: Path) -> None:
        self.ready = directory / "run/toolkit-ready"
        self.watched = directory / "spec.yaml"
        self.watched.write_text("kind: x\n")
        self.engine = FakeEngine(directory / "nri.sock")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0)
        self.port = self.listener.getsockname()[1]
        settings = {
            "index": 10,
            "socket": "/var/run/nri/nri.sock",
            "namespaces": ["gpu-operator", "monitoring"],
            "cdi_kind": "management.nvidia.com/gpu",
            "socket_path": str(directory / "nri.sock"),
            "log": ["text", False],
            "packages": str(Path(protobuf.__file__).parents[2]),
        }
        watch = Watch(
            interval=0.2,
            ready=True,
            ready_file=str(self.ready),
            files=((str(self.watched), signature(str(self.watched))),),
            listener_fd=self.listener.fileno(),
            answers=("alive", "yes", "no", "metrics 1", "metrics 0"),
            nri=settings,
        )
        self._kept = Kept(watch, pass_fds=(self.listener.fileno(),))
        self.process = self._kept.process

    def resident(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)

    def probe(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def came_back(self) -> tuple[str, bool]:
        return self._kept.woken()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.engine.close()
        self.listener.close()


@pytest.fixture
def resident(tmp_path: Path) -> Iterator[Resident]:
    process = Resident(tmp_path)
    try:
        yield process
    finally:
        process.close()


def test_the_ready_file_is_there_while_the_plugin_is_registered(resident: Resident) -> None:
    resident.engine.accept()
    assert not resident.ready.exists()
    resident.engine.drop()
    for _ in range(2):
        resident.engine.register()
        wait_for(resident.ready.exists, "the ready file")
        assert f"pid={resident.process.pid}\n" in resident.ready.read_text()
        resident.engine.drop()
        wait_for(lambda: not resident.ready.exists(), "the ready file to go")


def test_probes_tell_whether_the_plugin_is_registered(resident: Resident) -> None:
    assert resident.probe("/healthz") == (200, "alive")
    assert resident.probe("/readyz") == (503, "no")
    resident.engine.register()
    wait_for(lambda: resident.probe("/readyz") == (200, "yes"), "readiness")
    assert resident.probe("/metrics") == (200, "metrics 1")
    assert resident.resident() <= MOST_RESIDENT


def test_a_signal_leaves_the_engine_and_becomes_the_daemon_with_the_signal_pending(
    resident: Resident,
) -> None:
    resident.engine.register()
    wait_for(resident.ready.exists, "the ready file")
    resident.process.send_signal(signal.SIGTERM)
    with pytest.raises(EOFError):
        resident.engine.read()
    resident.engine.drop()
    assert resident.came_back() == ("signal", True)
    assert not resident.ready.exists()


def test_a_watched_file_that_differs_becomes_the_daemon(resident: Resident) -> None:
    resident.engine.register()
    wait_for(resident.ready.exists, "the ready file")
    os.truncate(resident.watched, 0)
    with pytest.raises(EOFError):
        resident.engine.read()
    resident.engine.drop()
    assert resident.came_back() == (f"file {resident.watched}", False)


def test_a_ready_file_that_somebody_removed_comes_back_while_the_plugin_is_registered(
    resident: Resident,
) -> None:
    resident.engine.register()
    wait_for(resident.ready.exists, "the ready file")
    resident.ready.unlink()
    wait_for(resident.ready.exists, "the ready file again")
    resident.engine.drop()
    wait_for(lambda: not resident.ready.exists(), "the ready file to go")
