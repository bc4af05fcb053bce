"""Fixtures: real engines. See README.md beside this file."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.engine.containerd import RELEASES, ContainerdRelease, RealContainerd, real_containerd


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
