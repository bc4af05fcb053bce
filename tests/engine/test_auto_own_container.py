"""The program as a pod of the very engine that it restarts."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.engine.containerd import RealContainerd
from tests.engine.packages import REPOSITORY
from tests.engine.program import Installer
from tests.engine.supervised import wait_for

pytestmark = pytest.mark.engine
RUNNING = 1
WITH_PYTHON = ("/usr", "/lib", "/lib64", sys.base_prefix, str(REPOSITORY))


def test_a_restart_of_the_engine_does_not_end_the_pod_that_asked_for_it(
    containerd: RealContainerd,
) -> None:
    containerd.start()
    containerd.import_image()
    installer = Installer(
        containerd.directory,
        {
            "RUNTIME": "containerd",
            "CONTAINERD_CONFIG": f"/host{containerd.config}",
            "CONTAINERD_SOCKET": str(containerd.socket),
            "RUNTIME_DROP_IN_CONFIG": f"/host{containerd.config.parent}/conf.d/99-nvidia.toml",
        },
    )
    environment = installer.environment | {
        "HOST_ROOT_MOUNT": "/host",
        "PYTHONPATH": str(REPOSITORY),
        "TOOLKIT_SOURCE_ROOT": f"/host{installer.source}",
    }
    installer.ready_file.parent.mkdir()
    before = len(containerd.process.events())
    pod = containerd.cri.run_pod(
        "",
        (sys.executable, "-m", "toolkit"),
        environment=environment,
        mounts={path: path for path in WITH_PYTHON if Path(path).exists()} | {"/host": "/"},
        privileged=True,
    )
    try:
        wait_for(installer.ready_file.exists, "the set-up to be ready", 40.0)
        time.sleep(2.0)
        assert containerd.cri.container_state(pod) == RUNNING
        # It died once and was spawned once: one reload, and no loop.
        events = [each.event for each in containerd.process.events()[before:]]
        assert events == ["died", "spawned"]
        assert containerd.cri.served().default == "nvidia"
        os.kill(int(installer.pid_file.read_text()), signal.SIGTERM)
        wait_for(lambda: not installer.pid_file.exists(), "the revert", 20.0)
        containerd.wait_ready()
        assert containerd.cri.served().default == "runc"
    except (AssertionError, TimeoutError) as error:
        raise AssertionError(f"{error}\n{containerd.cri.output(pod)}") from error
    finally:
        containerd.cri.remove_pod(pod)
