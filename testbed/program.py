"""The real program as a subprocess, with everything of it below one directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testbed.sample_payload import make_sample_payload

PROGRAM = (sys.executable, "-m", "toolkit")
HANDLERS = {
    "nvidia": "nvidia-container-runtime",
    "nvidia-cdi": "nvidia-container-runtime.cdi",
    "nvidia-legacy": "nvidia-container-runtime.legacy",
}


@dataclass(slots=True)
class Installer:
    """The program with its own install directory, pid file and payload."""

    directory: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    payload_size: int = 0
    prefix: tuple[str, ...] = ()
    """What the program is started by, such as ``WITH_DRIVER``."""
    process: subprocess.Popen[bytes] | None = None
    program: Sequence[str] = PROGRAM

    def __post_init__(self) -> None:
        if not self.source.exists():
            make_sample_payload(self.source, size=self.payload_size)

    @property
    def source(self) -> Path:
        """The sample payload."""
        return self.directory / "payload"

    @property
    def install_dir(self) -> Path:
        """What ``--toolkit-install-dir`` names."""
        return self.directory / "nvidia"

    @property
    def ready_file(self) -> Path:
        """There while all is served."""
        return self.directory / "run/toolkit-ready"

    @property
    def pid_file(self) -> Path:
        """The lock."""
        return self.directory / "run/toolkit.pid"

    @property
    def log_file(self) -> Path:
        """What the program said, over all its runs."""
        return self.directory / "installer.log"

    @property
    def environment(self) -> dict[str, str]:
        """The program's whole environment."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONWARNINGS": "error",
            "ROOT": str(self.install_dir),
            "TOOLKIT_SOURCE_ROOT": str(self.source),
            "TOOLKIT_PACKAGE_TYPE": "deb",
            "TOOLKIT_PID_FILE": str(self.pid_file),
            "TOOLKIT_READY_FILE": str(self.ready_file),
            "TOOLKIT_VERIFY_TIMEOUT": "20",
            "TOOLKIT_DEBUG": "true",
            "HOST_ROOT_MOUNT": "/",
            **self.variables,
        }

    def run(self, *arguments: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            [*self.prefix, *self.program, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the daemon."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, *self.program, *arguments],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        return self.process

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait for the ready file; an end or a timeout shows the log."""
        end = time.monotonic() + timeout
        while not self.ready_file.exists():
            ended = self.process is not None and self.process.poll() is not None
            if ended or time.monotonic() > end:
                raise AssertionError(f"not ready\n{self.log()}")
            time.sleep(0.01)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 60.0) -> int:
        """Send a signal and return the exit code."""
        if self.process is None:
            raise AssertionError("it was not started")
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def log(self) -> str:
        """Return what the daemon said so far."""
        return self.log_file.read_text() if self.log_file.exists() else ""

    def end(self) -> None:
        """Kill what is left at the end of a test."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def binary(self, handler: str) -> str:
        """Return the path of a handler's wrapper."""
        return str(self.install_dir / "toolkit" / HANDLERS[handler])

    def binaries(self) -> dict[str, str]:
        """Return every handler with its wrapper."""
        return {name: self.binary(name) for name in HANDLERS}


def snapshot(*roots: Path, besides: Sequence[Path] = ()) -> dict[str, tuple[object, ...]]:
    """Return every entry below some directories: type, mode, owner and content."""
    found: dict[str, tuple[object, ...]] = {}
    left_out = {str(each) for each in besides}
    for root in roots:
        if not root.exists():
            continue
        for path in (root, *sorted(root.rglob("*"))):
            if any(str(path) == each or str(path).startswith(f"{each}/") for each in left_out):
                continue
            state = path.lstat()
            content: object = None
            if path.is_symlink():
                content = os.readlink(path)
            elif path.is_file():
                content = path.read_bytes()
            found[str(path)] = (oct(state.st_mode), state.st_uid, state.st_gid, content)
    return found
