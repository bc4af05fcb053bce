"""The process that stays in NRI mode: what it execs from and back into, and what it keeps true."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from google import protobuf

from testbed.nri_engine import FakeEngine
from testbed.supervised import wait_for
from toolkit.daemon import keeper_state
from toolkit.daemon.keeper import signature

MOST_RESIDENT = 24 << 10
"""KiB at the peak; 5 MiB of it is the protobuf runtime."""
RESIDENT = Path(__file__).parents[2] / "toolkit/daemon/nri.py"
BEGIN = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
os.execv(sys.argv[1], sys.argv[1:])
"""
BACK = """
import os, signal
print(os.getpid(), os.environ["NVIDIA_TOOLKIT_WOKEN"], signal.SIGTERM in signal.sigpending())
"""


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
            "log_format": "text",
            "packages": str(Path(protobuf.__file__).parents[2]),
            "debug": False,
        }
        descriptor = self.listener.fileno()
        held = keeper_state.Resident(
            lock_fd=-1, lock_path="", lock_made=(), peer="-", listener_fd=descriptor
        )
        watch = keeper_state.Watch(
            interval=0.2,
            rest=0.0,
            ready=False,
            ready_file=str(self.ready),
            socket="",
            files=((str(self.watched), signature(str(self.watched))),),
            answers=("alive", "yes", "no", "metrics 1", "metrics 0"),
        )
        back = (sys.executable, "-I", "-c", BACK)
        self.process = subprocess.Popen(
            (
                *(sys.executable, "-c", BEGIN, sys.executable, "-I", "-S", str(RESIDENT)),
                json.dumps(settings),
                *keeper_state.arguments(held, watch, back),
            ),
            pass_fds=(descriptor,),
            stdout=subprocess.PIPE,
            text=True,
        )

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

    def came_back(self) -> list[str]:
        printed, _ = self.process.communicate(timeout=10)
        pid, *rest = printed.split()
        assert int(pid) == self.process.pid
        return rest

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
    assert resident.came_back() == ["signal", "True"]
    assert not resident.ready.exists()


def test_a_watched_file_that_differs_becomes_the_daemon(resident: Resident) -> None:
    resident.engine.register()
    wait_for(resident.ready.exists, "the ready file")
    os.truncate(resident.watched, 0)
    with pytest.raises(EOFError):
        resident.engine.read()
    resident.engine.drop()
    assert resident.came_back() == ["file", str(resident.watched), "False"]


def test_a_ready_file_that_somebody_removed_comes_back_while_the_plugin_is_registered(
    resident: Resident,
) -> None:
    resident.engine.register()
    wait_for(resident.ready.exists, "the ready file")
    resident.ready.unlink()
    wait_for(resident.ready.exists, "the ready file again")
    resident.engine.drop()
    wait_for(lambda: not resident.ready.exists(), "the ready file to go")
