"""The harness itself: what it starts comes back, and nothing of it stays."""

from __future__ import annotations

import signal
import time

import pytest

from testbed.containerd import ContainerdRelease, RealContainerd, real_containerd
from testbed.supervised import wait_for
from tests.engine.left_over import has_its_own_run, left_of

pytestmark = pytest.mark.engine


def test_a_containerd_that_dies_of_sighup_comes_back_and_its_container_lives_on(
    containerd: RealContainerd,
) -> None:
    containerd.start()
    containerd.import_image()
    pod = containerd.cri.run_pod()
    before = containerd.process.pid
    containerd.process.kill(signal.SIGHUP)
    wait_for(lambda: containerd.process.pid != before, "a new process")
    containerd.wait_ready()
    assert containerd.cri.container_state(pod) == 1
    assert containerd.process.events()[1].status == signal.SIGHUP


def test_a_pod_runs_through_the_handler_that_it_names(containerd: RealContainerd) -> None:
    containerd.start()
    containerd.import_image()
    assert containerd.cri.run_to_end("runc", ("/bin/echo", "from", "inside")) == "from inside"


def test_an_engine_that_is_held_stays_dead_until_it_is_released(containerd: RealContainerd) -> None:
    containerd.start()
    containerd.process.hold()
    before = containerd.process.pid
    containerd.process.kill(signal.SIGKILL)
    wait_for(lambda: containerd.process.events()[-1].event == "died", "its end")
    time.sleep(0.3)
    assert containerd.process.pid == before
    containerd.process.release()
    containerd.wait_ready()
    assert containerd.process.pid != before


@pytest.mark.usefixtures("_root")
def test_nothing_is_left_of_an_engine_with_a_running_pod(
    containerd_release: ContainerdRelease,
) -> None:
    with real_containerd(containerd_release) as engine:
        engine.start()
        engine.import_image()
        engine.cri.run_pod()
        engine.cri.run_to_end("", ("/bin/true",))
        directory = engine.directory
        assert has_its_own_run(engine.process.supervisor_pid)
    assert left_of(directory) == []
