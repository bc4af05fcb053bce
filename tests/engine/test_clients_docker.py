from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from testbed.dockerd import RealDockerd
from testbed.packages import REPOSITORY
from tests.engine.controls import control, engine_settings
from toolkit.engine.base import BaseControl
from toolkit.engine.containerd.control import ContainerdControl
from toolkit.engine.docker.control import DockerControl
from toolkit.engine.facts import Expectation, Holding, Source
from toolkit.errors import EngineNotFoundError, EngineRejectedError, EngineTimeoutError
from toolkit.host.clock import UninterruptedClock
from toolkit.settings import RestartMode

pytestmark = pytest.mark.engine

CLOCK = UninterruptedClock()
TOOLKIT = "/usr/local/nvidia/toolkit"
BINARY = f"{TOOLKIT}/nvidia-container-runtime"
OURS = {"default-runtime": "nvidia", "runtimes": {"nvidia": {"path": BINARY}}}
SERVED = Expectation(served=(("nvidia", BINARY),), default="nvidia")


@pytest.fixture
def docker(dockerd: RealDockerd) -> RealDockerd:
    dockerd.start()
    return dockerd


def of(engine: RealDockerd) -> BaseControl:
    return control(DockerControl, engine_settings(engine.config, engine.socket))


def soon(seconds: float = 20.0) -> float:
    return time.monotonic() + seconds


def test_the_facts_come_from_the_running_dockerd(docker: RealDockerd) -> None:
    facts = of(docker).facts(soon())
    assert facts.process is not None
    assert facts.process.pid == docker.process.pid
    assert facts.version is not None
    assert facts.version.text.startswith(docker.release.series)
    assert facts.effective is not None
    assert facts.effective.default == "runc"
    assert facts.effective_source is Source.LIVE
    assert facts.top_level == str(docker.config)
    assert facts.warnings == ()


def test_a_live_reload_serves_the_handler_in_the_same_process(docker: RealDockerd) -> None:
    engine = of(docker)
    process = engine.facts(soon()).process
    assert process is not None
    docker.write(OURS)
    report = engine.reload(process, RestartMode.AUTO, CLOCK, soon())
    assert report.process == process
    assert report.refused == 0.0
    engine.verify(SERVED, CLOCK, soon())
    assert engine.held(TOOLKIT).holding is Holding.FREE
    # A key that is gone from the file stays in force until a restart.
    docker.write({"default-runtime": "runc"})
    engine.reload(process, RestartMode.AUTO, CLOCK, soon())
    engine.verify(Expectation(default="runc"), CLOCK, soon())
    with pytest.raises(EngineTimeoutError, match="still served"):
        engine.verify(Expectation(absent=(("nvidia", BINARY),)), CLOCK, soon(3.0))


@pytest.mark.parametrize("text", ["{", '{"default-runtime": "nowhere"}'])
def test_a_file_that_dockerd_rejects_is_named(docker: RealDockerd, text: str) -> None:
    engine = of(docker)
    process = engine.facts(soon()).process
    assert process is not None
    docker.config.write_text(text)
    with pytest.raises(EngineRejectedError, match="keeps its previous configuration"):
        engine.reload(process, RestartMode.AUTO, CLOCK, soon(3.0))
    engine.verify(Expectation(default="runc"), CLOCK, soon())


def test_dockerd_behind_the_socket_of_another_listener_is_found(dockerd: RealDockerd) -> None:
    dockerd.activated = True
    dockerd.start()
    engine = of(dockerd)
    process = engine.facts(soon()).process
    assert process is not None
    assert process.pid != dockerd.process.pid
    assert process.executable == str(dockerd.binary)
    dockerd.write(OURS)
    engine.reload(process, RestartMode.AUTO, CLOCK, soon())
    engine.verify(SERVED, CLOCK, soon())


PROBE = """
import os, signal, sys, time
from tests.engine.controls import control, engine_settings
from toolkit.engine.docker.control import DockerControl

engine = control(DockerControl, engine_settings(sys.argv[1], sys.argv[2]))
alive = engine.facts(time.monotonic() + 20.0)
print(os.path.basename(alive.process.executable), alive.unreachable)
os.kill(alive.process.pid, signal.SIGKILL)
while os.path.exists(f"/proc/{alive.process.pid}"):
    time.sleep(0.01)
dead = engine.facts(time.monotonic() + 20.0)
print(dead.process, dead.unreachable)
"""


def test_an_init_that_listens_for_a_dead_dockerd_is_no_stranger(dockerd: RealDockerd) -> None:
    dockerd.activated = dockerd.activated_by_init = True
    dockerd.start()
    said = subprocess.run(
        (*dockerd.enter(), sys.executable, "-c", PROBE, dockerd.config, dockerd.socket),
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    alive, dead = said.stdout.splitlines()
    assert alive == "dockerd None"
    assert dead.startswith("None ")
    assert f"(PID 1) listens on {dockerd.socket}, and no docker runs behind it" in dead


def test_dockerds_socket_is_not_containerds(docker: RealDockerd) -> None:
    engine = control(ContainerdControl, engine_settings(docker.config, docker.socket))
    with pytest.raises(EngineNotFoundError, match="not to containerd"):
        engine.facts(soon())
