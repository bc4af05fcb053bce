"""The program as a pod of the very engine that it restarts."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.containerd import RealContainerd
from testbed.cri import Pod
from testbed.packages import REPOSITORY
from testbed.program import Installer
from testbed.supervised import Event, wait_for

pytestmark = pytest.mark.engine
RUNNING = 1
WITH_PYTHON = ("/usr", "/lib", "/lib64", sys.base_prefix, str(REPOSITORY))


SLOW_START = """#!/bin/sh
# The low-level runtime, whose container runs for a while before the engine is told so.
for argument; do
    if [ "$argument" = start ]; then
        RUNC "$@" || exit
        exec sleep SECONDS
    fi
done
exec RUNC "$@"
"""
SLOWNESS = 3.0
"""Seconds; the setup itself takes half of one."""
PLAIN_ROOT = {
    2: '[plugins."io.containerd.grpc.v1.cri".containerd]',
    3: '[plugins."io.containerd.cri.v1.images"]',
}
"""Version of the config to where it says how a container's root is made."""
SLOW_HANDLER = """
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.slow]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.slow.options]
BinaryName = "BINARY"
"""


class InAPod:
    """The program as a pod of an engine; nobody tells it that the host's root is at /host."""

    def __init__(self, engine: RealContainerd) -> None:
        self.engine = engine
        self.installer = Installer(
            engine.directory,
            {
                "RUNTIME": "containerd",
                "CONTAINERD_CONFIG": f"/host{engine.config}",
                "CONTAINERD_SOCKET": str(engine.socket),
                "RUNTIME_DROP_IN_CONFIG": f"/host{engine.config.parent}/conf.d/99-nvidia.toml",
            },
        )
        self.installer.ready_file.parent.mkdir(exist_ok=True)
        self._seen = len(engine.process.events())

    def start(self, handler: str = "") -> Pod:
        """Start the pod; returns once the engine says that its container was started."""
        environment = dict(self.installer.environment)
        del environment["HOST_ROOT_MOUNT"]
        return self.engine.cri.run_pod(
            handler,
            (sys.executable, "-m", "toolkit"),
            environment=environment
            | {
                "PYTHONPATH": str(REPOSITORY),
                "TOOLKIT_SOURCE_ROOT": f"/host{self.installer.source}",
            },
            mounts={path: path for path in WITH_PYTHON if Path(path).exists()} | {"/host": "/"},
            privileged=True,
        )

    def wait_ready(self) -> None:
        """Wait until it says that all is served."""
        wait_for(self.installer.ready_file.exists, "the setup to be ready")

    def restarts(self) -> list[Event]:
        """Return what happened to the engine's process since the program was there."""
        return self.engine.process.events()[self._seen :]


@contextmanager
def told(engine: RealContainerd, pod: Pod) -> Iterator[None]:
    """Show what the program said where a test fails; the pod is gone afterwards."""
    try:
        yield
    except (AssertionError, TimeoutError) as error:
        raise AssertionError(f"{error}\n{engine.cri.output(pod)}") from error
    finally:
        engine.cri.remove_pod(pod)


def test_a_restart_of_the_engine_does_not_end_the_pod_that_asked_for_it(
    containerd: RealContainerd,
) -> None:
    # The container's root is a directory of the host's own file system, as with Docker's vfs.
    version = 3 if containerd.release.series.startswith("2") else 2
    config = f'version = {version}\n{PLAIN_ROOT[version]}\nsnapshotter = "native"\n'
    containerd.config.write_text(config)
    containerd.start()
    containerd.import_image()
    program = InAPod(containerd)
    pod = program.start()
    with told(containerd, pod):
        program.wait_ready()
        time.sleep(2.0)
        assert containerd.cri.container_state(pod) == RUNNING
        # It died once and was spawned once: one reload, and no loop.
        assert [each.event for each in program.restarts()] == ["died", "spawned"]
        assert containerd.cri.served().default == "nvidia"
        pid_file = program.installer.pid_file
        os.kill(int(pid_file.read_text()), signal.SIGTERM)
        wait_for(lambda: not pid_file.exists(), "the revert")
        containerd.wait_ready()
        assert containerd.cri.served().default == "runc"


def test_the_engine_is_not_restarted_before_it_knows_that_the_pod_runs(
    containerd: RealContainerd,
) -> None:
    slow = containerd.directory / "bin/slow-runc"
    runc = str(containerd.directory / "bin/runc")
    slow.write_text(SLOW_START.replace("RUNC", runc).replace("SECONDS", str(SLOWNESS)))
    slow.chmod(0o755)
    content = containerd.config.read_text()
    containerd.config.write_text(content + SLOW_HANDLER.replace("BINARY", str(slow)))
    containerd.start()
    containerd.import_image()
    program = InAPod(containerd)
    began = time.monotonic()
    pod = program.start("slow")
    assert time.monotonic() >= began + 2 * SLOWNESS, "of the sandbox and of the container"
    with told(containerd, pod):
        program.wait_ready()
        died, spawned = program.restarts()
        assert (died.event, spawned.event) == ("died", "spawned")
        assert died.at >= began + 2 * SLOWNESS
        assert "our own container is not reported running yet" in containerd.cri.output(pod)
        time.sleep(1.0)
        assert containerd.cri.container_state(pod) == RUNNING
        assert len(program.restarts()) == 2
