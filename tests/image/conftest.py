"""Fixtures: one node with Docker for all tests here, and the image that it has built."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.host import DockerHost, docker_host, make_context


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerHost]:
    """A node whose dockerd has built the image from the checkout."""
    if os.geteuid() != 0:
        pytest.skip("a node needs root")
    context = make_context(Path(tmp_path_factory.mktemp("context")))
    with docker_host() as host:
        host.import_base()
        host.build(context)
        yield host
