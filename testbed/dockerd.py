"""A real dockerd under a supervisor, with the containerd that it starts, below one directory."""

from __future__ import annotations

import http.client
import json
import platform
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.containerd import SYSTEM_PATH, low_level_runtime
from testbed.images import BUSYBOX_IMAGE, write_oci_archive
from testbed.packages import busybox, runc, unpacked
from testbed.supervised import Supervised, private_directory, wait_for


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerRelease:
    """One of Debian's dockerds, with the containerd of the same suite."""

    suite: str
    series: str
    """``20.10``, ``26`` or ``28`` (Debian sid's, which moves on)."""

    @property
    def directory(self) -> Path:
        """Where its files are unpacked."""
        return unpacked("docker", self.suite)

    @property
    def environment(self) -> dict[str, str]:
        """Variables that its programs need, found where they are unpacked."""
        programs = f"{self.directory}/usr/sbin:{self.directory}/usr/bin"
        containerd = unpacked("containerd", self.suite) / "usr/bin"
        return {
            "PATH": f"{programs}:{containerd}:{SYSTEM_PATH}",
            "LD_LIBRARY_PATH": f"{self.directory}/lib/{platform.machine()}-linux-gnu",
        }


DOCKER_RELEASES = (
    DockerRelease(suite="bookworm", series="20.10"),
    DockerRelease(suite="trixie", series="26"),
    DockerRelease(suite="sid", series="28"),
)


ACTIVATED = """
import os, signal, socket, sys
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
if os.getpid() == 1:
    signal.sigwait({signal.SIGTERM})
"""
"""Listens in place of systemd's docker.socket and hands the socket to dockerd. As PID 1 it goes on
listening when that is dead."""
AS_PID_1 = ("/usr/bin/unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


class RealDockerd:
    """One dockerd with its own config, data, sockets and containerd; no network, no iptables."""

    def __init__(self, release: DockerRelease, directory: Path) -> None:
        self.release = release
        self.directory = directory
        self.binary = release.directory / "usr/sbin/dockerd"
        self.config = directory / "etc/daemon.json"
        self.socket = directory / "docker.sock"
        self.arguments: tuple[str, ...] = ()
        """More arguments of dockerd; set before ``start``."""
        self.activated = False
        """Another process listens and hands the socket over; set before ``start``."""
        self.activated_by_init = False
        """That process is PID 1 of a PID namespace of its own; ``enter`` goes in there."""
        self.config.parent.mkdir()
        self.config.write_bytes(b"{}\n")
        (directory / "bin").mkdir()
        low_level_runtime(directory / "bin/runc", runc())
        self._environment = release.environment
        self._environment["PATH"] = f"{directory}/bin:{self._environment['PATH']}"
        self.process = Supervised(directory / "supervisor", self._command(), self._environment)

    @property
    def variables(self) -> dict[str, str]:
        """What tells the program of this engine."""
        return {
            "RUNTIME": "docker",
            "DOCKER_CONFIG": str(self.config),
            "DOCKER_SOCKET": str(self.socket),
        }

    def write(self, config: object) -> None:
        """Write its file."""
        self.config.write_text(json.dumps(config))

    def start(self) -> None:
        """Start it with what ``config`` holds now, and wait until its API answers."""
        self.process.command = self._command()
        self.process.start()
        self.wait_ready()

    def stop(self) -> None:
        """End it, its containerd, its containers and its supervisor."""
        self.process.stop()

    def enter(self) -> tuple[str, ...]:
        """Return the command that runs what follows it where PID 1 listens for dockerd."""
        unshare = self.process.pid
        init = Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()[0]
        return ("nsenter", "--target", init, "--mount", "--pid", "--")

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until its API answers; a timeout shows the end of its log."""
        try:
            wait_for(self._answers, "dockerd to answer", timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.process.log()[-4000:]}") from None

    def wait_new_process(self, old: int) -> None:
        """Wait until another process than ``old`` answers."""
        wait_for(lambda: self.process.pid != old, "a new dockerd")
        self.wait_ready()

    def wait_info(self, look: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until ``/info`` says something."""
        wait_for(lambda: look(self.info()), "dockerd to say what is expected")

    def wait_config(self, look: Callable[[bytes], bool]) -> None:
        """Wait until its file holds something."""
        wait_for(lambda: look(self.config.read_bytes()), "the file to hold what is expected")

    def reloads(self) -> int:
        """Return how often it was told to read its file again, as its log has it."""
        return self.process.log().count("Got signal to reload configuration")

    def info(self) -> dict[str, Any]:
        """Return what ``GET /info`` says."""
        connection = _Connection(self.socket)
        try:
            connection.request("GET", "/info")
            document: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return document

    def docker(self, *arguments: str) -> str:
        """Run its client and return what it prints."""
        program = str(self.release.directory / "usr/bin/docker")
        done = subprocess.run(
            (program, "--host", f"unix://{self.socket}", *arguments),
            check=False,
            capture_output=True,
            text=True,
            env=self._environment | {"HOME": str(self.directory)},
        )
        if done.returncode:
            raise RuntimeError(f"docker {arguments}: {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def import_image(self) -> str:
        """Load the busybox image and return its name."""
        archive = write_oci_archive(self.directory / "busybox.tar", busybox())
        self.docker("load", "--input", str(archive))
        return BUSYBOX_IMAGE

    def _answers(self) -> bool:
        try:
            return bool(self.info())
        except OSError:
            return False

    def _command(self) -> tuple[str, ...]:
        """Return its command line; without ``--containerd`` it starts one below its exec root."""
        listen = "fd://" if self.activated else f"unix://{self.socket}"
        listener = ("/usr/bin/python3", "-c", ACTIVATED, str(self.socket))
        return (
            *(AS_PID_1 if self.activated_by_init else ()),
            *(listener if self.activated else ()),
            str(self.binary),
            *("--config-file", str(self.config), "--pidfile", str(self.directory / "docker.pid")),
            *("--data-root", str(self.directory / "data")),
            *("--exec-root", str(self.directory / "exec"), "--host", listen),
            *("--iptables=false", "--ip6tables=false", "--bridge=none"),
            *self.arguments,
        )


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("docker", timeout=10.0)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket in place of a host."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@contextmanager
def real_dockerd(release: DockerRelease) -> Iterator[RealDockerd]:
    """Make an engine that is not started yet; stop it and remove its files at the end."""
    with private_directory("dkr-") as directory:
        engine = RealDockerd(release, directory)
        try:
            yield engine
        finally:
            engine.stop()
