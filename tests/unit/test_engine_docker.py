from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.docker_api import FakeDocker
from toolkit.engine.docker_client import DockerClient
from toolkit.errors import EngineTimeoutError


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="docker-") as directory:
        yield Path(directory) / "docker.sock"


def test_the_deadline_is_for_all_that_is_asked_over_one_connection(path: Path) -> None:
    docker = FakeDocker(containers={f"c{number}": "runc" for number in range(50)}, seconds=0.1)
    began = time.monotonic()
    with (
        docker.serving(path),
        DockerClient(str(path), "/var/run/docker.sock", began + 0.5) as client,
        pytest.raises(EngineTimeoutError, match=r"/var/run/docker\.sock: GET .*timed out"),
    ):
        client.containers()
    assert time.monotonic() - began < 1.5
