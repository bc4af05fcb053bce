"""The file by which Node Feature Discovery labels the node while it is ready."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.containerd import RELEASES, RealContainerd
from testbed.program import Installer
from testbed.supervised import wait_for
from tests.engine.resident import installer_of, wait_idle, wait_said

pytestmark = [
    pytest.mark.engine,
    pytest.mark.parametrize("containerd_release", RELEASES[-1:], ids=lambda each: each.series),
]


@pytest.fixture
def feature(containerd: RealContainerd) -> Path:
    return containerd.directory / "nfd/features.d/nvidia-toolkit"


@pytest.fixture
def installer(containerd: RealContainerd, feature: Path) -> Iterator[Installer]:
    containerd.start()
    program = installer_of(containerd, TOOLKIT_FEATURE_FILE=str(feature))
    program.start()
    wait_idle(program)
    yield program
    program.end()


def test_it_is_there_while_ready_is_renewed_and_goes_with_its_directories(
    installer: Installer, feature: Path
) -> None:
    first = feature.read_text()
    wait_for(lambda: feature.read_text() != first, "the next expiry")
    assert installer.stop() == 0, installer.log()
    assert not feature.parent.parent.exists()


def test_it_goes_while_the_engine_is_away_and_comes_back(
    containerd: RealContainerd, installer: Installer, feature: Path
) -> None:
    containerd.process.hold()
    containerd.process.kill(signal.SIGKILL)
    wait_for(lambda: not feature.exists(), "the label's end")
    containerd.process.release()
    wait_said(installer, "nothing differs seconds")
    wait_for(feature.exists, "the label")
    assert installer.stop() == 0, installer.log()


def test_what_a_killed_one_left_goes_at_the_next_start(installer: Installer, feature: Path) -> None:
    installer.end()
    left = feature.read_text()
    assert left.startswith("# +expiry-time=")
    assert installer.run("revert").returncode == 0
    assert not feature.parent.parent.exists()
