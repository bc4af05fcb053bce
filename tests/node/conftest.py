"""Fixtures: a node with systemd, booted once for all tests here. See README.md beside this file."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from testbed.nspawn import Node, booted_node


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """A booted Debian 12 with containerd 1.6 under ``containerd.service``."""
    if os.geteuid() != 0:
        pytest.skip("a node needs root")
    with booted_node() as booted:
        yield booted
