"""The real program on files below one directory, without an engine, under strace's faults."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from runtime_configs.model import Version
from testbed.sample_payload import make_sample_payload
from tests.fakes.engine import FakeEngine
from tests.faults.node_host import Tree, tree_of
from toolkit.host.paths import HostRoot
from toolkit.host.view import HostFilesView

PROGRAM = (sys.executable, "-m", "toolkit")
EFFECTS = (
    "rename,renameat,renameat2,fsync,fdatasync,openat,write,pwrite64,link,linkat,unlink,unlinkat,"
    "mkdir,mkdirat,rmdir,symlink,symlinkat,ftruncate,fchmod,fchown,chmod,copy_file_range"
)
"""System calls that change a file or open one."""
LOOKS = "close,flock,newfstatat,getdents64,lseek,readlink"
"""Calls in between, at which a process can be killed as well."""
CONFIG = b"""# by hand
version = 2

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.example/pause:3" # theirs

[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"""
_NOT_OURS = re.compile(r"\.pyc?\b|\.so\b|/proc/|/usr/lib|/dev/|site-packages|ld\.so|__pycache__")


@dataclass(slots=True)
class ProgramHost:
    """``etc`` and ``nvidia`` are the host's; ``run`` and ``payload`` lie beside."""

    directory: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("host/etc", "run"):
            (self.directory / name).mkdir(parents=True)
        self.config.write_bytes(CONFIG)
        make_sample_payload(self.directory / "payload")

    @property
    def host(self) -> Path:
        """What is compared."""
        return self.directory / "host"

    @property
    def config(self) -> Path:
        """The engine's top-level config."""
        return self.host / "etc/config.toml"

    @property
    def install_dir(self) -> Path:
        """Where the toolkit goes."""
        return self.host / "opt/nvidia"

    @property
    def environment(self) -> dict[str, str]:
        """The program's whole environment: no engine, nothing is told."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOST_ROOT_MOUNT": "/",
            "RUNTIME": "containerd",
            "CONTAINERD_CONFIG": str(self.config),
            "CONTAINERD_SOCKET": str(self.directory / "run/absent.sock"),
            "RUNTIME_RESTART_MODE": "none",
            "RUNTIME_CONFIG_SOURCES": "file",
            "RUNTIME_EXECUTABLE_PATH": "/nonexistent/containerd",
            "ROOT": str(self.install_dir),
            "TOOLKIT_SOURCE_ROOT": str(self.directory / "payload"),
            "TOOLKIT_PACKAGE_TYPE": "deb",
            "TOOLKIT_PID_FILE": str(self.directory / "run/toolkit.pid"),
            "NO_DAEMON": "true",
            **self.variables,
        }

    def run(
        self, *arguments: str, fault: str | None = None, log: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the program to its end; ``fault`` is what strace injects, ``log`` its listing."""
        command: tuple[str, ...] = (*PROGRAM, *arguments)
        if fault is not None or log is not None:
            what = f"inject={fault}" if fault else f"trace={EFFECTS},{LOOKS}"
            to = str(log) if log else "/dev/null"
            command = ("strace", "-f", "-y", "-s", "0", "-o", to, "-e", what, *command)
        return subprocess.run(
            command,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def set_up(self, **how: object) -> subprocess.CompletedProcess[str]:
        """Install and leave."""
        return self.run(**how)  # type: ignore[arg-type]

    def revert(self, **how: object) -> subprocess.CompletedProcess[str]:
        """Take all back; nobody can be asked who uses the files."""
        return self.run("revert", "--purge", **how)  # type: ignore[arg-type]

    def tree(self) -> Tree:
        """Return every entry that is the host's."""
        return tree_of(self.host)

    def keep(self, name: str) -> None:
        """Keep the host as it is."""
        shutil.copytree(self.host, self.directory / name, symlinks=True)

    def restore(self, name: str) -> None:
        """Bring it back."""
        shutil.rmtree(self.host)
        shutil.copytree(self.directory / name, self.host, symlinks=True)

    def check_loadable(self) -> None:
        """Raise CannotLoadError unless an engine would start with its files as they are."""
        FakeEngine(
            view=HostFilesView(HostRoot(root="/")),
            version=Version(major=1, minor=7),
            top_level=str(self.config),
        ).loadable()


def effective_calls(log: Path, directory: Path) -> list[str]:
    """Return where in a listing the host may be touched, as strace's ``when`` needs it.

    strace counts each system call of each thread by itself; those of the first thread are returned.
    """
    lines = log.read_text(errors="replace").splitlines()
    first = lines[0].split(maxsplit=1)[0]
    seen: Counter[str] = Counter()
    found = []
    for line in lines:
        thread, rest = line.split(maxsplit=1)
        name, bracket, _ = rest.partition("(")
        if thread != first or not bracket or not name.isidentifier():
            continue
        seen[name] += 1
        if str(directory) in rest and not _NOT_OURS.search(rest.replace(str(directory), "")):
            found.append(f"{name}:when={seen[name]}")
    return found
