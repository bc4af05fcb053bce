"""A process under the supervisor, as the tests handle it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

PROGRAM = Path(__file__).with_name("supervisor.py")
PRIVATE_RUN = """
set -e
kept=$(mktemp -d)
mount --no-mtab -t tmpfs -o mode=755 tmpfs "$kept"
for path in systemd dbus; do
    [ -S /run/systemd/private ] && [ -d "/run/$path" ] || continue
    mkdir "$kept/$path"
    mount --no-mtab --bind "/run/$path" "$kept/$path"
done
mount --no-mtab --move "$kept" /run
rmdir "$kept"
if [ -n "$SAMPLE_DRIVER" ]; then
    mount --no-mtab -t tmpfs none /proc/driver
    mkdir /proc/driver/nvidia
fi
exec "$@"
"""
"""Engines put shim sockets, FIFOs and runc's state below /run whatever --state says: a /run of the
engine's own goes with its mount namespace, and so does every mount of a container. SAMPLE_DRIVER
makes an NVIDIA driver look loaded there, so that the payload's wrappers start what they wrap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What the supervisor saw, in monotonic seconds."""

    event: str
    """``spawned`` or ``died``."""
    pid: int
    status: int | None
    at: float


class Supervised:
    """One engine process that comes back when it dies, until it is stopped."""

    def __init__(
        self, directory: Path, command: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self.directory = directory
        self.command = tuple(command)
        self.environment = dict(environment)
        self.restart_delay = 0.0
        """Seconds that a dead engine stays a zombie before the next one is started."""
        self.sample_driver = False
        """Make a driver look loaded to what the process starts; set before ``start``."""
        self.network = True
        """False: a network namespace of its own with no network; set before ``start``."""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the supervisor, which starts the process."""
        self.directory.mkdir(parents=True, exist_ok=True)
        spawned = len(self.events())
        self._process = subprocess.Popen(
            (
                *(
                    "unshare",
                    "--mount",
                    "--propagation=slave",
                    *(() if self.network else ("--net",)),
                ),
                *("sh", "-c", PRIVATE_RUN, "sh"),
                *(sys.executable, "-I", "-S", str(PROGRAM), str(self.directory)),
                *(str(self.restart_delay), "--", *self.command),
            ),
            env=self.environment | {"SAMPLE_DRIVER": "1" if self.sample_driver else ""},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(lambda: len(self.events()) > spawned, f"{self.command[0]} to be spawned")

    def stop(self) -> None:
        """End the process and everything that it started; nothing of it is left afterwards."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def hold(self) -> None:
        """From now on a dead process stays dead."""
        (self.directory / "held").touch()

    def release(self) -> None:
        """Start it again when it is dead."""
        (self.directory / "held").unlink()

    def kill(self, signal_number: signal.Signals) -> None:
        """Signal the process."""
        os.kill(self.pid, signal_number)

    @property
    def pid(self) -> int:
        """The newest process, living or dead."""
        return [event.pid for event in self.events() if event.event == "spawned"][-1]

    @property
    def supervisor_pid(self) -> int:
        """The supervisor's own PID, the parent of the process."""
        if self._process is None:
            raise RuntimeError("the supervisor does not run")
        return self._process.pid

    def events(self) -> list[Event]:
        """Return what happened so far."""
        record = self.directory / "events"
        if not record.exists():
            return []
        return [Event(**json.loads(line)) for line in record.read_text().splitlines()]

    def log(self) -> str:
        """Return what the process printed, of all its lives."""
        return (self.directory / "log").read_text(errors="replace")

    def enter(self) -> tuple[str, ...]:
        """Return the command that runs what follows it in the process's mount namespace."""
        return ("nsenter", "--mount", "--target", str(self.supervisor_pid), "--")


@contextmanager
def private_directory(prefix: str) -> Iterator[Path]:
    """Make a directory with a short path, and remove it at the end with all that is in it.

    Raises RuntimeError where something is still mounted below it: removing would go through it.
    """
    directory = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        mounted = [
            line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()
        ]
        below = [path for path in mounted if path.startswith(f"{directory}/")]
        if below:
            raise RuntimeError(f"still mounted: {below}")
        shutil.rmtree(directory)


def wait_for(look: Callable[[], T], what: str, timeout: float = 60.0) -> T:
    """Look until there is something to see; raises TimeoutError with ``what``."""
    deadline = time.monotonic() + timeout
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout} s for {what}")
        time.sleep(0.01)
