"""A real containerd under a supervisor, everything of it below one directory."""

from __future__ import annotations

import os
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.cri import CriClient
from testbed.images import BUSYBOX_IMAGE, write_oci_archive
from testbed.packages import ENGINES, busybox, runc, unpacked
from testbed.supervised import Supervised, private_directory, wait_for

CAP_SYS_RESOURCE = 24
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RUNC_KEEPING_OOM_SCORE = """#!/bin/sh
# This machine may not lower a process's oom_score_adj, which CRI asks for at every pod.
own=$(cat /proc/self/oom_score_adj)
previous=
for argument; do
    if [ "$previous" = --bundle ]; then
        sed -i "s/\\"oomScoreAdj\\":-[0-9]*/\\"oomScoreAdj\\":$own/" "$argument/config.json"
    fi
    previous=$argument
done
exec RUNC "$@"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerdRelease:
    """One of Debian's containerds."""

    suite: str
    series: str
    """``1.6``, ``1.7`` or ``2.1`` (Debian sid's, which moves on)."""

    @property
    def programs(self) -> Path:
        """The directory of its programs."""
        return unpacked("containerd", self.suite) / "usr/bin"

    @property
    def version(self) -> str:
        """The version that its binary reports, such as ``1.6.20``."""
        printed = _output(self.programs / "containerd", "--version")
        return printed.split()[2].partition("~")[0].partition("+")[0]

    def runs_here(self) -> bool:
        """Say whether it is unpacked and this machine's libraries are new enough for it."""
        directory = ENGINES / f"containerd-{self.suite}"
        try:
            _output(directory / "usr/bin/containerd", "--version")
        except (OSError, RuntimeError):
            return False
        return True

    def config_default(self) -> bytes:
        """Return what ``containerd config default`` prints."""
        return _output(self.programs / "containerd", "config", "default").encode()


RELEASES = (
    ContainerdRelease(suite="bookworm", series="1.6"),
    ContainerdRelease(suite="trixie", series="1.7"),
    ContainerdRelease(suite="sid", series="2.1"),
)
MACHINE = ContainerdRelease(suite="machine", series="machine")
"""The machine's own distribution's, for a demo where Debian's archive is out of reach."""


class RealContainerd:
    """One containerd with its own config, root, state and socket, and its supervisor."""

    def __init__(self, release: ContainerdRelease, directory: Path) -> None:
        self.release = release
        self.directory = directory
        """Short, since a socket's path may have 107 characters; not below /run."""
        self.binary = release.programs / "containerd"
        self.config = directory / "etc/config.toml"
        self.root = directory / "root"
        self.state = directory / "state"
        self.socket = directory / "containerd.sock"
        self.config.parent.mkdir(parents=True)
        self.config.write_bytes(b"version = 2\n")
        self.process = Supervised(
            directory / "supervisor",
            (
                str(self.binary),
                *("--config", str(self.config), "--root", str(self.root)),
                *("--state", str(self.state), "--address", str(self.socket)),
            ),
            {"PATH": f"{self._low_level()}:{release.programs}:{SYSTEM_PATH}"},
        )
        self.cri = CriClient(self.socket, directory / "logs")

    def start(self) -> None:
        """Start it with what ``config`` holds now, and wait until CRI is ready."""
        self.process.start()
        self.wait_ready()

    def switch(self, release: ContainerdRelease) -> None:
        """Let another release take its place, with the same config, root and socket."""
        self.stop()
        programs, self.release = self.release.programs, release
        self.binary = release.programs / "containerd"
        self.process.command = (str(self.binary), *self.process.command[1:])
        path = self.process.environment["PATH"].replace(str(programs), str(release.programs))
        self.process.environment["PATH"] = path
        self.start()

    def stop(self) -> None:
        """End it, its shims, its containers and its supervisor."""
        self.process.stop()

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until CRI answers with RuntimeReady; a timeout shows the end of the log."""
        try:
            wait_for(self.cri.ready, "CRI to be ready", timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.process.log()[-4000:]}") from None

    def ctr(self, *arguments: str, namespace: str = "k8s.io") -> str:
        """Run ``ctr`` on it and return what it prints."""
        program = self.release.programs / "ctr"
        common = (str(program), "--address", str(self.socket), "--namespace", namespace)
        return _output(*self.process.enter(), *common, *arguments)

    def import_image(self, namespace: str = "k8s.io") -> str:
        """Give it the busybox image, also under the name of its sandbox image; return its name."""
        archive = self.directory / "busybox.tar"
        if not archive.exists():
            write_oci_archive(archive, busybox())
        self.ctr("images", "import", str(archive), namespace=namespace)
        sandbox = sandbox_image(self._dumped())
        if sandbox != BUSYBOX_IMAGE:
            self.ctr("images", "tag", "--force", BUSYBOX_IMAGE, sandbox, namespace=namespace)
        if namespace == "k8s.io":
            self.cri.wait_image(BUSYBOX_IMAGE)
            self.cri.wait_image(sandbox)
        return BUSYBOX_IMAGE

    def dump(self) -> dict[str, Any]:
        """Return the effective config as the engine's own dump of the file shows it."""
        return tomllib.loads(self._dumped())

    def _dumped(self) -> str:
        return _output(self.binary, "--config", self.config, "config", "dump")

    def _low_level(self) -> Path:
        """Make the directory of the low-level runtime that the engine finds as ``runc``."""
        directory = self.directory / "bin"
        directory.mkdir()
        low_level_runtime(directory / "runc", runc())
        return directory


@contextmanager
def real_containerd(release: ContainerdRelease) -> Iterator[RealContainerd]:
    """Make an engine that is not started yet; stop it and remove its files at the end."""
    with private_directory("ctd-") as directory:
        engine = RealContainerd(release, directory)
        try:
            yield engine
        finally:
            engine.stop()


def low_level_runtime(program: Path, runc: Path) -> None:
    """Make ``program`` run ``runc``, without what this machine is not allowed to do."""
    if _capable(CAP_SYS_RESOURCE):
        program.symlink_to(runc)
    else:
        program.write_text(RUNC_KEEPING_OOM_SCORE.replace("RUNC", str(runc)))
        program.chmod(0o755)


def sandbox_image(dump: str) -> str:
    """Return the sandbox image's name from the engine's dump, of any config version."""
    plugins = tomllib.loads(dump)["plugins"]
    images = plugins.get("io.containerd.cri.v1.images")
    if images is not None:
        return str(images["pinned_images"]["sandbox"])
    return str(plugins["io.containerd.grpc.v1.cri"]["sandbox_image"])


def _capable(capability: int) -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> capability & 1)
    return False


def _output(*command: str | os.PathLike[str]) -> str:
    """Run a program; an error shows what it said."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command}: exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout
