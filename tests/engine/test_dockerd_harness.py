"""The dockerd of the harness: a container runs on it, and nothing of it stays."""

from __future__ import annotations

import json
import signal

import pytest

from testbed.dockerd import DockerRelease, RealDockerd, real_dockerd
from testbed.supervised import wait_for
from tests.engine.left_over import has_its_own_run, left_of

pytestmark = pytest.mark.engine


def test_a_container_runs_on_it(dockerd: RealDockerd) -> None:
    dockerd.start()
    image = dockerd.import_image()
    printed = dockerd.docker("run", "--rm", "--network=none", image, "/bin/echo", "from inside")
    assert printed == "from inside\n"


def test_sighup_makes_it_read_its_file_again(dockerd: RealDockerd) -> None:
    dockerd.start()
    before = dockerd.process.pid
    dockerd.config.write_text(json.dumps({"runtimes": {"other": {"path": "/usr/bin/true"}}}))
    dockerd.process.kill(signal.SIGHUP)
    wait_for(lambda: "other" in dockerd.info()["Runtimes"], "the runtime to be served")
    assert dockerd.process.pid == before


@pytest.mark.usefixtures("_root")
def test_nothing_is_left_of_it(docker_release: DockerRelease) -> None:
    with real_dockerd(docker_release) as engine:
        engine.start()
        image = engine.import_image()
        engine.docker("run", "--detach", "--network=none", image)
        directory = engine.directory
        assert has_its_own_run(engine.process.supervisor_pid)
    assert left_of(directory) == []
