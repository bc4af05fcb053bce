"""Starts the NRI plugin beside a real or a fake engine, and looks at its log and its memory."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAM = Path(__file__).with_name("nri_program.py")
KIND = "management.nvidia.com/gpu"


class PluginProcess:
    """A running plugin."""

    def __init__(self, directory: Path, socket: Path) -> None:
        self._log = directory / "plugin.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                (sys.executable, "-I", str(PROGRAM), str(socket), KIND), stderr=log
            )

    def log(self) -> str:
        """Return what it printed so far."""
        return self._log.read_text()

    @property
    def registrations(self) -> int:
        """How often an engine has taken it up."""
        return self.log().count("registered with the engine")

    def memory(self, name: str = "VmRSS") -> int:
        """Return a figure of its memory in KiB: ``VmRSS`` now, ``VmHWM`` at its highest."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name))

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)


@contextmanager
def plugin_process(directory: Path, socket: Path) -> Iterator[PluginProcess]:
    """Start a plugin, and end it in any case."""
    plugin = PluginProcess(directory, socket)
    try:
        yield plugin
    finally:
        if plugin.process.poll() is None:
            plugin.process.kill()
            plugin.process.wait(10)
