from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime_configs.model import EngineName
from runtime_configs.registry import adapter_for
from tests.engine.controls import engine_settings, host
from tests.fakes.docker_api import FakeDocker
from toolkit.engine.docker.client import DockerClient
from toolkit.engine.docker.control import DockerControl
from toolkit.engine.facts import Holding
from toolkit.errors import EngineTimeoutError, InterruptedBySignalError
from toolkit.host.clock import UninterruptedClock

TOOLKIT = "/usr/local/nvidia/toolkit"
RUNTIMES = {"runc": "runc", "nvidia": f"{TOOLKIT}/nvidia-container-runtime"}


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="docker-") as directory:
        yield Path(directory) / "docker.sock"


@pytest.mark.parametrize(
    ("containers", "holding"),
    [
        ({"a": "runc"}, Holding.FREE),
        ({"a": "nvidia"}, Holding.HELD),
        ({"a": None, "b": "runc"}, Holding.FREE),
        ({"a": None, "b": "nvidia"}, Holding.HELD),
    ],
)
def test_a_container_that_ends_while_it_is_asked_about_holds_nothing(
    path: Path, containers: dict[str, str | None], holding: Holding
) -> None:
    settings = engine_settings("/etc/docker/daemon.json", path)
    control = DockerControl(settings, host(), adapter_for(EngineName.DOCKER).effective)
    with FakeDocker(runtimes=RUNTIMES, containers=containers).serving(path):
        assert control.held(TOOLKIT).holding is holding


class Interrupted(UninterruptedClock):
    """A clock whose second safe point finds a signal."""

    def __init__(self) -> None:
        self._points = 0

    def check(self) -> None:
        self._points += 1
        if self._points > 1:
            raise InterruptedBySignalError("SIGTERM")


def test_a_signal_that_arrives_while_a_handler_is_run_ends_the_run(path: Path) -> None:
    settings = engine_settings("/etc/docker/daemon.json", path)
    control = DockerControl(settings, host(), adapter_for(EngineName.DOCKER).effective)
    with (
        FakeDocker(runtimes=RUNTIMES).serving(path),
        pytest.raises(InterruptedBySignalError, match="SIGTERM"),
    ):
        control.run_handlers(("nvidia",), Interrupted(), time.monotonic() + 10.0)


def test_the_deadline_is_for_all_that_is_asked_over_one_connection(path: Path) -> None:
    docker = FakeDocker(containers={f"c{number}": "runc" for number in range(50)}, seconds=0.1)
    began = time.monotonic()
    with (
        docker.serving(path),
        DockerClient(str(path), "/var/run/docker.sock", began + 0.5) as client,
        pytest.raises(EngineTimeoutError, match=r"/var/run/docker\.sock: GET .*timed out"),
    ):
        client.containers()
