"""A real dockerd with its own containerd, everything of it below one directory."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.engine.containerd import SYSTEM_PATH
from tests.engine.packages import runc, unpacked
from tests.engine.supervised import Supervised, wait_for
from toolkit.engine.docker_client import DockerClient
from toolkit.errors import ToolkitError
from toolkit.host.clock import UninterruptedClock


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerRelease:
    """One of Debian's dockerds, with the containerd of the same suite."""

    suite: str
    series: str


RELEASES = (
    DockerRelease(suite="bookworm", series="20.10"),
    DockerRelease(suite="trixie", series="26.1"),
    DockerRelease(suite="sid", series="28.5"),
)
ACTIVATED = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(64)
child = os.fork()
if child == 0:
    os.dup2(listener.fileno(), 3)
    os.set_inheritable(3, True)
    os.environ["LISTEN_FDS"] = "1"
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.execvp(sys.argv[2], sys.argv[2:])
os.waitpid(child, 0)
"""
"""Listens in place of systemd's docker.socket and hands the socket to dockerd."""


class RealDocker:
    """One dockerd without networks, under a supervisor."""

    def __init__(self, release: DockerRelease, directory: Path, *, activated: bool = False) -> None:
        self.release = release
        self.directory = directory
        self.binary = unpacked("docker", release.suite) / "usr/sbin/dockerd"
        self.config = directory / "daemon.json"
        self.config.write_text("{}\n")
        self.socket = directory / "docker.sock"
        listen = "fd://" if activated else f"unix://{self.socket}"
        dockerd = (
            str(self.binary),
            *("--config-file", str(self.config), "--data-root", str(directory / "root")),
            *("--exec-root", str(directory / "exec"), "--pidfile", str(directory / "pid")),
            *("--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"),
            *("--userland-proxy=false", "-H", listen),
        )
        listener = ("/usr/bin/python3", "-c", ACTIVATED, str(self.socket))
        programs = unpacked("containerd", release.suite) / "usr/bin"
        self.process = Supervised(
            directory / "supervisor",
            (*listener, *dockerd) if activated else dockerd,
            {"PATH": f"{programs}:{runc().parent}:{self.binary.parent}:{SYSTEM_PATH}"},
        )

    def write(self, config: object) -> None:
        """Write daemon.json."""
        self.config.write_text(json.dumps(config))

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.process.start()
        wait_for(self._answers, "dockerd to answer", 30.0)

    def stop(self) -> None:
        """End it and what it started."""
        self.process.stop()

    def _answers(self) -> bool:
        deadline = UninterruptedClock().now() + 1.0
        try:
            with DockerClient(str(self.socket), str(self.socket), deadline) as client:
                client.info()
        except ToolkitError:
            return False
        return True


@contextmanager
def real_docker(release: DockerRelease, *, activated: bool = False) -> Iterator[RealDocker]:
    """Make a dockerd that is not started yet; stop it and remove its files at the end."""
    directory = Path(tempfile.mkdtemp(prefix="dck-", dir="/tmp"))
    engine = RealDocker(release, directory, activated=activated)
    try:
        yield engine
    finally:
        engine.stop()
        shutil.rmtree(directory)
