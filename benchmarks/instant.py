"""An engine that is started again at once: what a start, a stop and the engine's absence take."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from benchmarks.figures import Figure, Series
from benchmarks.subject import Subject, ended, ending
from testbed.containerd import RELEASES, RealContainerd
from testbed.dockerd import DOCKER_RELEASES, RealDockerd
from testbed.packages import REPOSITORY
from testbed.probe import DowntimeProbe
from testbed.program import HANDLERS
from testbed.supervised import private_directory, wait_for

RELEASE = RELEASES[2]
DOCKER = DOCKER_RELEASES[0]
SECTION = f"instant supervisor, containerd {RELEASE.series}"
SECTION_DOCKER = f"docker {DOCKER.series}"
ROUNDS = 7
RESOLUTION = 0.005
"""Seconds between two looks at the engine while it is away."""
PROBES = 200
PATIENCE = 60.0
MILLI = 1000.0
JUDGED = "config.tried"
"""The log's event that tells how long the engine's binary was asked about the files."""


@dataclass(slots=True)
class Found:
    """What one subject was measured to do, in milliseconds."""

    times: dict[str, list[float]] = field(default_factory=dict)
    ended: str = ""
    """How another installer ended on the way; empty while it goes on."""

    def note(self, name: str, seconds: float) -> None:
        """Keep one value."""
        self.times.setdefault(name, []).append(seconds * MILLI)

    def series(self, name: str) -> Series | None:
        """Return what was measured of one thing; None where nothing was."""
        values = self.times.get(name)
        return None if not values else Series(name=name, unit="ms", values=tuple(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One subject at work on one engine."""

    subject: Subject
    directory: Path
    variables: dict[str, str]
    served: Callable[[], bool]
    """Whether the engine serves the handlers, for a subject that does not say so itself."""

    @property
    def ready_file(self) -> Path:
        """Where ours says that they are verified."""
        return self.directory / "run/toolkit-ready"

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.directory / "log"

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start it."""
        self.directory.mkdir(exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "ROOT": str(self.directory / "nvidia"),
            "TOOLKIT_PACKAGE_TYPE": "deb",
            "TOOLKIT_PID_FILE": str(self.directory / "run/toolkit.pid"),
            "TOOLKIT_LOG_FORMAT": "json",
            "TOOLKIT_DEBUG": "true",
            "HOST_ROOT_MOUNT": "/",
            **self.variables,
            **variables,
        }
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [*self.subject.command, *arguments],
                env=environment,
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # NVIDIA's may signal its own process group
            )

    def wait_served(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the handlers are served. Raises RuntimeError where it ends before."""

        def done() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"exit code {process.returncode}\n{self._end()}")
            return self.ready_file.exists() if self.subject.ours else self.served()

        wait_for(done, "the handlers", PATIENCE)

    def to_its_end(self, *arguments: str, **variables: str) -> float:
        """Run it; return the seconds. Raises RuntimeError where it fails."""
        began = time.perf_counter()
        code = ended(self.start(*arguments, **variables))
        seconds = time.perf_counter() - began
        if code:
            raise RuntimeError(f"exit code {code}\n{self._end()}")
        return seconds

    def judged(self) -> float:
        """Return the seconds for which the engine's binary was asked in the last run."""
        lines = (line for line in self.log.read_text().splitlines() if line.startswith("{"))
        events = (json.loads(line) for line in lines)
        return sum(float(each["seconds"]) for each in events if each["event"] == JUDGED)

    def _end(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]


def measure(payload: Path, subjects: tuple[Subject, ...]) -> list[Figure]:
    """Measure each subject in turn beside containerd, and ours beside dockerd."""
    found = {subject.name: Found() for subject in subjects}
    alone = Found()
    with private_directory("bench-") as directory:
        containerd = RealContainerd(RELEASE, directory)
        containerd.start()
        try:
            runs = [_on_containerd(containerd, payload, subject) for subject in subjects]
            for number in range(ROUNDS + 1):
                alone.note("away", _away(containerd, lambda: _restart_twice(containerd)))
                for run in runs:
                    kept = found[run.subject.name]
                    _guarded(containerd, run, kept if number else Found(), kept)
        finally:
            containerd.stop()
    return [*_figures(found, alone), *_on_docker(payload, subjects[0])]


def _guarded(containerd: RealContainerd, run: Run, found: Found, kept: Found) -> None:
    """Measure a round; one in which another installer fails is left out, its traces removed."""
    before = containerd.config.read_bytes()
    try:
        _round(containerd, run, found)
    except (RuntimeError, TimeoutError) as error:
        if run.subject.ours:
            raise
        kept.ended = ending(error)
        containerd.stop()
        containerd.config.write_bytes(before)
        (containerd.config.parent / "conf.d/99-nvidia.toml").unlink(missing_ok=True)
        containerd.start()


def _round(containerd: RealContainerd, run: Run, found: Found) -> None:
    process: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        began = time.perf_counter()
        process.append(run.start())
        run.wait_served(process[0])
        found.note("start to served", time.perf_counter() - began)

    def stop() -> None:
        began = time.perf_counter()
        process[0].send_signal(signal.SIGTERM)
        ended(process[0])
        found.note("SIGTERM to exit", time.perf_counter() - began)

    try:
        away = _away(containerd, start)
        time.sleep(0.3)  # until it is idle
        if run.subject.ours:
            _probe(run, found)
    except BaseException:
        process[0].kill()
        process[0].wait()
        raise
    found.note("away", away + _away(containerd, stop))
    if run.subject.ours:
        run.to_its_end(NO_DAEMON="true")
        found.note("judged", run.judged())
        found.note("unchanged", run.to_its_end(NO_DAEMON="true"))
        found.note("judged unchanged", run.judged())
        run.to_its_end("revert", "--purge")


def _probe(run: Run, found: Found) -> None:
    """Ask the idle process for its health, as a kubelet does."""
    address = run.variables["TOOLKIT_HEALTH_ADDRESS"]
    for _ in range(PROBES // ROUNDS):
        began = time.perf_counter()
        with urllib.request.urlopen(f"http://{address}/readyz") as answer:
            answer.read()
        found.note("probe", time.perf_counter() - began)


def _away(containerd: RealContainerd, act: Callable[[], None]) -> float:
    """Return the seconds in which CRI did not answer after something was done."""
    with DowntimeProbe(containerd.socket, RESOLUTION) as probe:
        act()
        containerd.wait_ready()
        time.sleep(4 * RESOLUTION)
    return sum(each.silent for each in probe.outages)


def _restart_twice(containerd: RealContainerd) -> None:
    for _ in range(2):
        old = containerd.process.pid
        containerd.process.kill(signal.SIGHUP)
        wait_for(lambda old=old: containerd.process.pid != old, "a new containerd")  # type: ignore[misc]
        containerd.wait_ready()


def _on_containerd(containerd: RealContainerd, payload: Path, subject: Subject) -> Run:
    drop_in = containerd.config.parent / "conf.d/99-nvidia.toml"
    return Run(
        subject=subject,
        directory=containerd.directory / subject.name,
        variables={
            "RUNTIME": "containerd",
            "RUNTIME_CONFIG": str(containerd.config),
            "RUNTIME_DROP_IN_CONFIG": str(drop_in),
            "RUNTIME_DROP_IN_CONFIG_HOST_PATH": str(drop_in),
            "RUNTIME_SOCKET": str(containerd.socket),
            "RUNTIME_EXECUTABLE_PATH": str(containerd.binary),
            "RUNTIME_RESTART_MODE": "signal",
            "TOOLKIT_SOURCE_ROOT": str(payload),
            **({"TOOLKIT_HEALTH_ADDRESS": f"127.0.0.1:{_free_port()}"} if subject.ours else {}),
        },
        served=lambda: _serves(containerd),
    )


def _serves(containerd: RealContainerd) -> bool:
    """Return whether CRI reports the handlers; an engine that is away reports none."""
    try:
        return set(HANDLERS) <= set(containerd.cri.served().handlers)
    except grpc.RpcError:
        return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def _dockerd() -> Iterator[RealDockerd]:
    with private_directory("bench-") as directory:
        dockerd = RealDockerd(DOCKER, directory)
        dockerd.start()
        try:
            yield dockerd
        finally:
            dockerd.stop()


def _on_docker(payload: Path, subject: Subject) -> list[Figure]:
    """Measure a start and a stop beside dockerd, which reloads its config as it runs."""
    found = Found()
    with _dockerd() as dockerd:
        run = Run(
            subject=subject,
            directory=dockerd.directory / "ours",
            variables={**dockerd.variables, "TOOLKIT_SOURCE_ROOT": str(payload)},
            served=lambda: False,
        )
        for number in range(ROUNDS + 1):
            times = found if number else Found()
            began = time.perf_counter()
            process = run.start()
            run.wait_served(process)
            times.note("start to served", time.perf_counter() - began)
            time.sleep(0.3)  # until it is idle
            began = time.perf_counter()
            process.send_signal(signal.SIGTERM)
            ended(process)
            times.note("SIGTERM to exit", time.perf_counter() - began)
    return [
        Figure(section=SECTION_DOCKER, measured=series)
        for name in ("start to served", "SIGTERM to exit")
        if (series := found.series(name)) is not None
    ]


ROWS: tuple[tuple[str, str, float | None, float | None], ...] = (
    ("start to served", "start to served", None, 2.0),
    ("away", "engine away a round, CRI asked every 5 ms", None, 1.0),
    ("SIGTERM to exit", "SIGTERM to exit", None, None),
    ("unchanged", "second run, nothing changed", None, None),
    ("judged", "of a setup: the engine judges the files, pending edits are told", 120.0, None),
    ("judged unchanged", "the same of a start where nothing differs", 0.0, None),
    ("probe", "health probe of the idle process", None, None),
)
"""What was measured, its name, the most it should be, and that beside another installer."""


_OF_BOTH = ("start to served", "away", "SIGTERM to exit")
"""What of another installer is measured too."""


def _figures(found: dict[str, Found], alone: Found) -> list[Figure]:
    ours, peer = found["ours"], found.get("peer", Found())
    figures = []
    for key, name, aim, aim_peer in ROWS:
        measured, other = ours.series(key), peer.series(key)
        restarts = alone.series("away") if key == "away" else None
        if measured is None:
            continue
        figures.append(
            Figure(
                section=SECTION,
                measured=Series(name=name, unit="ms", values=measured.values),
                baseline=None
                if restarts is None
                else Series(name="two restarts alone", unit="ms", values=restarts.values),
                peer=other,
                peer_ended=peer.ended if other is None and key in _OF_BOTH else "",
                aim=aim,
                aim_peer=aim_peer,
            )
        )
    return figures
