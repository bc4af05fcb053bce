"""The daemon after its setup: what it costs, what it watches, and what it says at any time."""

from __future__ import annotations

import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from testbed.containerd import RealContainerd
from testbed.program import Installer
from testbed.supervised import wait_for

PATIENT = (sys.executable, "-m", "tests.engine.resident_program")
INTERVAL = 0.2
"""Seconds between looks at drift."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Of one process, in KiB."""

    resident: int
    private_dirty: int


def memory_of(pid: int) -> Memory:
    """Read a process's ``smaps_rollup``."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {
        name: int(size.split()[0]) for name, _, size in (each.partition(":") for each in lines)
    }
    return Memory(resident=sizes["Rss"], private_dirty=sizes["Private_Dirty"])


def installer_of(containerd: RealContainerd, **variables: str) -> Installer:
    """Return the program, told of this engine, that looks at drift often."""
    etc = containerd.config.parent
    return Installer(
        containerd.directory,
        {
            "RUNTIME": "containerd",
            "CONTAINERD_CONFIG": str(containerd.config),
            "CONTAINERD_SOCKET": str(containerd.socket),
            "RUNTIME_DROP_IN_CONFIG": str(etc / "conf.d/99-nvidia.toml"),
            "TOOLKIT_RECONCILE_INTERVAL": str(INTERVAL),
            **variables,
        },
    )


def is_idle(installer: Installer) -> bool:
    """Tell whether the process is the small one at this moment."""
    if installer.process is None:
        return False
    command = Path(f"/proc/{installer.process.pid}/cmdline").read_bytes().split(b"\0")
    return command[1:3] == [b"-I", b"-S"]


def wait_idle(installer: Installer, timeout: float = 60.0) -> None:
    """Wait until it is ready and has been the small process for some looks at drift."""
    seen = 0

    def settled() -> bool:
        nonlocal seen
        seen = seen + 1 if installer.ready_file.exists() and is_idle(installer) else 0
        time.sleep(INTERVAL / 4)
        return seen > 12

    installer.wait_ready(timeout)
    try:
        wait_for(settled, "the keeper", timeout)
    except TimeoutError as error:
        raise TimeoutError(f"{error}\n{installer.log()[-4000:]}") from None


def events(installer: Installer, message: str) -> int:
    """Count the log's lines that hold a text."""
    return installer.log().count(message)


def wait_said(installer: Installer, message: str, times: int = 1, timeout: float = 60.0) -> None:
    """Wait until the log has so many lines with a text; a timeout shows the log."""
    try:
        wait_for(lambda: events(installer, message) >= times, message, timeout)
    except TimeoutError as error:
        raise TimeoutError(f"{error}\n{installer.log()[-4000:]}") from None


def probe(port: int, path: str) -> tuple[int, str]:
    """Ask as the kubelet does."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def wait_probe(port: int, path: str, code: int, timeout: float = 60.0) -> None:
    """Wait until a probe is answered so."""
    wait_for(lambda: probe(port, path)[0] == code, f"{code} of {path}", timeout)


def served(containerd: RealContainerd, installer: Installer) -> bool:
    """Tell whether the engine serves all our handlers."""
    found = containerd.cri.served()
    ours = installer.binaries()
    return {name: found.handlers.get(name) for name in ours} == ours and found.default == "nvidia"


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Moved:
    """A copy of the program that can be moved away and back."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "site"
        self.directory.mkdir()
        root = Path(__file__).parents[2]
        for name in ("toolkit", "runtime_configs"):
            shutil.copytree(root / name, self.directory / name)

    def away(self) -> None:
        (self.directory / "toolkit").rename(self.directory / "toolkit.old")

    def back(self) -> None:
        (self.directory / "toolkit.old").rename(self.directory / "toolkit")
