"""The program that is measured, ours or another installer of the same interface."""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.packages import REPOSITORY, runc
from testbed.supervised import wait_for

CONFIG = b"""\
version = 2
# the node's own
[plugins."io.containerd.grpc.v1.cri"]
  max_concurrent_downloads = 5
"""
PEER_VARIABLE = "PEER"
PATIENCE = 60.0
"""Seconds that one run may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One installer; ``command`` starts it."""

    name: str
    command: tuple[str, ...]
    ours: bool


def ours() -> Subject:
    """Return the program of this tree."""
    return Subject(name="ours", command=(sys.executable, "-m", "toolkit"), ours=True)


def as_installed() -> tuple[str, ...]:
    """Return the same program as the image starts it: without ``site``, and by no module's name."""
    packages = sysconfig.get_path("purelib")
    start = (
        f"import sys; sys.path[:0] = [{str(REPOSITORY)!r}]; sys.path.append({packages!r}); "
        "from toolkit.__main__ import program; program()"
    )
    return (sys.executable, "-I", "-S", "-c", start)


def peer() -> Subject | None:
    """Return the installer that the variable PEER names; None without it."""
    command = os.environ.get(PEER_VARIABLE)
    return (
        Subject(name="peer", command=tuple(shlex.split(command)), ours=False) if command else None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one subject works: an engine's config that nothing serves, and an install directory."""

    directory: Path
    payload: Path
    subject: Subject

    @property
    def config(self) -> Path:
        """The engine's config file."""
        return self.directory / "etc/config.toml"

    @property
    def install_dir(self) -> Path:
        """What ``ROOT`` names."""
        return self.directory / "nvidia"

    def environment(self, **more: str) -> dict[str, str]:
        """Return the whole environment: config source file, restart mode none."""
        return {
            "PATH": os.environ["PATH"],
            "RUNTIME": "containerd",
            "RUNTIME_CONFIG": str(self.config),
            "CONTAINERD_CONFIG": str(self.config),
            "RUNTIME_DROP_IN_CONFIG": str(self.directory / "etc/conf.d/99-nvidia.toml"),
            "RUNTIME_SOCKET": str(self.directory / "no-engine.sock"),
            "CONTAINERD_SOCKET": str(self.directory / "no-engine.sock"),
            "RUNTIME_CONFIG_SOURCE": f"file={self.config}",
            "RUNTIME_RESTART_MODE": "none",
            "CONTAINERD_RESTART_MODE": "none",
            "NVIDIA_CONTAINER_RUNTIME_RUNTIMES": str(runc()),
            "ROOT": str(self.install_dir),
            "TOOLKIT_SOURCE_ROOT": str(self.payload),
            "TOOLKIT_PACKAGE_TYPE": "deb",
            "TOOLKIT_PID_FILE": str(self.directory / "run/toolkit.pid"),
            "HOST_ROOT_MOUNT": "/",
            **more,
        }

    def write_config(self, content: bytes = CONFIG) -> None:
        """Put the engine's config as it is before any setup."""
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.config.write_bytes(content)

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start the subject, its output in a file."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                [*self.subject.command, *arguments],
                env=self.environment(**variables),
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def run(self, *arguments: str, codes: tuple[int, ...] = (0,), **variables: str) -> float:
        """Run the subject to its end; return the seconds it took.

        Raises RuntimeError where it ends with another code than these.
        """
        began = time.perf_counter()
        code = ended(self.start(*arguments, **variables))
        seconds = time.perf_counter() - began
        if code not in codes:
            raise RuntimeError(f"{self.subject.name}: exit code {code}\n{self._log()}")
        return seconds

    def set_up(self) -> float:
        """Set up without staying; return the seconds."""
        return self.run(NO_DAEMON="true")

    def daemon(self, **variables: str) -> subprocess.Popen[bytes]:
        """Start the daemon and wait until it is set up and idle."""
        process = self.start(**variables)
        wait_for(lambda: self._is_set_up() or process.poll() is not None, "the setup", PATIENCE)
        time.sleep(0.3)
        if process.poll() is not None:
            raise RuntimeError(f"{self.subject.name} ended\n{self._log()}")
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> float:
        """Send SIGTERM; return the seconds until the program has ended."""
        began = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        ended(process)
        return time.perf_counter() - began

    def _is_set_up(self) -> bool:
        if self.subject.ours:
            return (self.directory / "run/toolkit-ready").exists()
        drop_in = self.directory / "etc/conf.d/99-nvidia.toml"
        return drop_in.exists() or b"nvidia" in self.config.read_bytes()

    def _log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")[-2000:]


def ended(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process and return its exit code; Popen.wait looks only every 50 ms."""
    descriptor = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(PATIENCE * 1000):
            process.kill()
        return process.wait()
    finally:
        os.close(descriptor)


def ending(error: Exception) -> str:
    """Return in one line how another installer ended on the way, for its column."""
    return f"ended: {str(error).splitlines()[0]}"


def settled(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which the interpreter keeps what it compiled, as it is installed."""
    return {name: value for name, value in environment.items() if not name.startswith("PYTHON")}
