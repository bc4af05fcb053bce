"""Fixtures: real engines. See README.md beside this file."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from testbed.containerd import RELEASES, ContainerdRelease, RealContainerd, real_containerd
from testbed.dockerd import DOCKER_RELEASES, DockerRelease, RealDockerd, real_dockerd


@pytest.fixture(scope="session")
def _root() -> None:
    if os.geteuid() != 0:
        pytest.skip("real engines need root")


@pytest.fixture(params=RELEASES, ids=lambda release: f"containerd-{release.series}")
def containerd_release(request: pytest.FixtureRequest) -> ContainerdRelease:
    """Each of the containerd releases."""
    release: ContainerdRelease = request.param
    return release


@pytest.fixture
def containerd(_root: None, containerd_release: ContainerdRelease) -> Iterator[RealContainerd]:
    """A containerd of each release: write ``containerd.config``, then ``start()``."""
    with real_containerd(containerd_release) as engine:
        yield engine


@pytest.fixture(params=DOCKER_RELEASES, ids=lambda release: f"docker-{release.series}")
def docker_release(request: pytest.FixtureRequest) -> DockerRelease:
    """Each of the dockerd releases."""
    release: DockerRelease = request.param
    return release


@pytest.fixture
def dockerd(_root: None, docker_release: DockerRelease) -> Iterator[RealDockerd]:
    """A dockerd of each release: write ``dockerd.config``, then ``start()``."""
    with real_dockerd(docker_release) as engine:
        yield engine
