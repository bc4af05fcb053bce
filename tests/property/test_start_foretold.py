"""What a start would refuse, `plan` and `doctor` say before: over modes, engines and states.

Wherever a start ends with an error before its first write, `plan` ends with the same error and
`doctor` has a problem; wherever it gets to write, `plan` ends well.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import itertools
import os
import random
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from runtime_configs.model import EngineName
from tests.fakes.faulty_syscalls import CrashPoint
from tests.fakes.judged_host import (
    CONFIGS,
    REFUSED,
    JudgedHost,
    first_write,
    sample_payload,
)
from toolkit.daemon.process import FirstDaemon
from toolkit.errors import ToolkitError
from toolkit.host.clock import UninterruptedClock
from toolkit.journal.codec import encode
from toolkit.journal.record import Record, State
from toolkit.node import Node
from toolkit.report import output
from toolkit.report.doctor import Finding, Verdict, examine
from toolkit.settings import Output

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("chattr") is None, reason="needs root to mount"
)
CONTAINERD, CRIO, DOCKER = EngineName.CONTAINERD, EngineName.CRIO, EngineName.DOCKER
INSTALL = "/usr/local/nvidia"
JOURNAL = f"{INSTALL}/.toolkit-journal/journal.json"
RUN = "/run/nvidia/toolkit"
MODES = ("auto", "systemd", "signal", "none")
Change = Callable[[JudgedHost], None]


# The engine and its socket


def serves(what: str) -> Change:
    def change(host: JudgedHost) -> None:
        host.serves = what

    return change


def runs(executable: str = "", *arguments: str, **how: object) -> Change:
    return lambda host: host.runs(executable, *arguments, **how)


def unit_that(lacks: str) -> Change:
    def change(host: JudgedHost) -> None:
        host.services.lacks = lacks

    return change


def is_dead_of(content: bytes) -> Change:
    def change(host: JudgedHost) -> None:
        host.serves = "stale"
        host.place(host.config, content)

    return change


def gone(host: JudgedHost) -> None:
    del host.table.processes[os.getpid()]


# Its files


def config(content: bytes) -> Change:
    return lambda host: host.place(host.config, content)


def instead_of_config(make: Callable[[Path], object]) -> Change:
    def change(host: JudgedHost) -> None:
        host.path(host.config).unlink()
        make(host.path(host.config))

    return change


def refused(host: JudgedHost) -> None:
    first = b'{"x": "%s"}' if host.engine is DOCKER else CONFIGS[host.engine][1] + b"# %s\n"
    host.place(host.config, first % REFUSED.encode())


def read_only(path: str = "") -> Change:
    return lambda host: host.mount(path or os.path.dirname(host.config))


def fixed(path: str = "", attribute: str = "i") -> Change:
    def change(host: JudgedHost) -> None:
        at = path or host.config
        if not host.path(at).exists():
            host.path(at).mkdir(parents=True)
        host.fix(at, attribute)

    return change


def in_a_store(host: JudgedHost) -> None:
    name = os.path.basename(host.config)
    for path in (host.config, *(DROP_INS[host.engine] or ())):
        host.place(f"/nix/store/0a-{name}/{os.path.basename(path)}", b"")
        host.path(path).parent.mkdir(parents=True, exist_ok=True)
        host.path(path).unlink(missing_ok=True)
        host.path(path).symlink_to(f"/nix/store/0a-{name}/{os.path.basename(path)}")
    host.place(f"/nix/store/0a-{name}/{name}", CONFIGS[host.engine][1])
    host.mount("/nix/store")


DROP_INS: dict[EngineName, tuple[str, ...]] = {
    CONTAINERD: ("/etc/containerd/conf.d/99-nvidia.toml",),
    CRIO: ("/etc/crio/crio.conf.d/99-nvidia.toml",),
    DOCKER: (),
}


def flag(*flags: str) -> Change:
    return lambda host: host.flags.extend(each.format(host=host.path("/")) for each in flags)


def variable(name: str, value: str) -> Change:
    def change(host: JudgedHost) -> None:
        host.variables[name] = value

    return change


def both(*changes: Change) -> Change:
    def change(host: JudgedHost) -> None:
        for each in changes:
            each(host)

    return change


# The install directory and the payload


def mounted(path: str, *options: str) -> Change:
    def change(host: JudgedHost) -> None:
        host.path(path).mkdir(parents=True, exist_ok=True)
        host.mount(path, *options)

    return change


def is_a_file(path: str) -> Change:
    return lambda host: host.place(path, b"")


def payload_with(change: Callable[[Path], object]) -> Change:
    def given(host: JudgedHost) -> None:
        own = host.directory / "payload"
        shutil.copytree(host.payload, own, symlinks=True)
        change(own)
        host.payload = own

    return given


def foreign(payload: Path) -> None:
    """Make its runtime one of another machine: an ELF header of 64-bit PowerPC."""
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x15\x00" + bytes(44)
    (payload / "usr/bin/nvidia-container-runtime").write_bytes(header)


def no_shell(host: JudgedHost) -> None:
    host.path("/bin/sh").unlink()


# What is there already


def journal(content: bytes) -> Change:
    return lambda host: host.place(JOURNAL, content)


def locked(path: str = f"{RUN}/toolkit.pid", content: bytes = b"1\n") -> Change:
    def change(host: JudgedHost) -> None:
        host.place(path, content)
        held = os.open(host.path(path), os.O_RDWR)
        with contextlib.suppress(BlockingIOError):  # two states that are alike
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        KEPT.append(held)
        state = os.fstat(held)
        device = f"{os.major(state.st_dev):02x}:{os.minor(state.st_dev):02x}"
        line = f"1: FLOCK  ADVISORY  WRITE 1 {device}:{state.st_ino} 0 EOF\n"
        (Path(host.root.proc) / "locks").write_text(line)

    return change


KEPT: list[int] = []
"""Descriptors of files that somebody else has locked."""


def journal_of_another(host: JudgedHost) -> None:
    """Leave the journal of an installer with another pid file that is alive."""
    locked("/run/other/toolkit.pid")(host)
    record = Record(
        state=State.COMMITTED, version="1", engine=None, pid_file="/run/other/toolkit.pid"
    )
    host.place(JOURNAL, encode(record))


def link(path: str) -> Change:
    def change(host: JudgedHost) -> None:
        host.path(path).parent.mkdir(parents=True, exist_ok=True)
        host.path(path).symlink_to("/etc/passwd")

    return change


def fifo_for_pid_file(host: JudgedHost) -> None:
    host.path(RUN).mkdir(parents=True)
    os.mkfifo(host.path(f"{RUN}/toolkit.pid"))


def address_taken(host: JudgedHost) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    host.flags.append(f"--health-address=127.0.0.1:{taken.getsockname()[1]}")
    KEPT.append(taken.detach())


def a_container(host: JudgedHost) -> None:
    """Be in a container in which the host's root is not mounted, and no engine either."""
    host.serves = "nothing"
    host.root = replace(host.root, root="/")
    host.flags += ["--host-root=/", f"--pid-file={host.directory}/toolkit.pid"]
    host.flags.append(f"--socket={host.directory}/none.sock")
    host.flags.append(f"--toolkit-install-dir={host.directory}/nvidia")
    table = "1 0 0:30 / / rw - overlay overlay rw,lowerdir=/x\n"
    (Path(host.root.proc) / "self/mountinfo").write_text(table)


class Condition(NamedTuple):
    change: Change
    engines: tuple[EngineName, ...] = (CONTAINERD, CRIO, DOCKER)
    root: bool = False
    """It takes mounts or attributes."""


STATES: dict[str, Condition] = {
    "as it should be": Condition(lambda _host: None),
    "no socket": Condition(serves("nothing")),
    "a stale socket": Condition(serves("stale")),
    "a directory for a socket": Condition(serves("directory")),
    "a file for a socket": Condition(serves("file")),
    "another program": Condition(runs("/usr/sbin/nginx")),
    "podman": Condition(runs("/usr/bin/podman")),
    "Docker Desktop": Condition(runs("/usr/bin/com.docker.backend")),
    "the Docker snap": Condition(runs("/snap/docker/1/bin/dockerd"), (DOCKER,)),
    "rootless": Condition(runs(user=1000)),
    "in a container": Condition(runs(on_host=False)),
    "not privileged": Condition(runs(on_host=None)),
    "a PID that is gone": Condition(gone),
    "no unit and no parent": Condition(runs(cgroup="0::/\n")),
    "a masked unit": Condition(unit_that("is masked")),
    "no systemd": Condition(unit_that("can't be reached")),
    "dead by its config": Condition(is_dead_of(b"version = 2\n[broken\n")),
    "a config that is none": Condition(config(b"[broken\n")),
    "a config that is no text": Condition(config(b"\xff\xfe\x00")),
    "an empty config": Condition(config(b"")),
    "no config": Condition(instead_of_config(lambda _at: None)),
    "a directory for a config": Condition(instead_of_config(Path.mkdir)),
    "a FIFO for a config": Condition(instead_of_config(os.mkfifo)),
    "a dangling link": Condition(instead_of_config(lambda at: at.symlink_to("/none/x"))),
    "a link in a circle": Condition(instead_of_config(lambda at: at.symlink_to(at.name))),
    "a config the engine refuses": Condition(refused),
    "CRI disabled": Condition(config(b'version = 2\ndisabled_plugins = ["cri"]\n'), (CONTAINERD,)),
    "an import that is missing": Condition(
        config(b'version = 2\nimports = ["/etc/none.toml"]\n'), (CONTAINERD,)
    ),
    "a version from the future": Condition(config(b"version = 9\n"), (CONTAINERD,)),
    "a default that is nobody": Condition(
        config(
            b'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd]\n'
            b'default_runtime_name = "gone"\n'
        ),
        (CONTAINERD,),
    ),
    "a flag for the default": Condition(runs("", "--default-runtime", "runc"), (DOCKER,)),
    "runtimes that are a list": Condition(config(b'{"runtimes": []}'), (DOCKER,)),
    "a pending edit": Condition(config(b'[crio.runtime]\ndefault_runtime = "gone"\n'), (CRIO,)),
    "named but not read": Condition(
        both(
            lambda host: host.place("/etc/other.conf", CONFIGS[host.engine][1]),
            flag("--config=/etc/other.conf"),
        )
    ),
    "a drop-in that is not read": Condition(
        flag("--drop-in-config=/etc/elsewhere/x.toml"), (CONTAINERD, CRIO)
    ),
    "a drop-in below a file": Condition(
        both(is_a_file("/etc/plain"), flag("--drop-in-config=/etc/plain/x.toml")),
        (CONTAINERD, CRIO),
    ),
    "a read-only config": Condition(read_only(), root=True),
    "an immutable config directory": Condition(
        lambda host: fixed(os.path.dirname(host.config))(host), root=True
    ),
    "an immutable config": Condition(fixed(), root=True),
    "an append-only config": Condition(fixed(attribute="a"), root=True),
    "a config in a store": Condition(in_a_store, root=True),
    "no engine to be set up": Condition(flag("--no-runtime-config")),
    "NRI without its payload": Condition(
        both(
            flag("--enable-nri-plugin", "--nri-namespace=gpu"),
            payload_with(lambda at: (at / "usr/bin/nvidia-ctk").unlink()),
        ),
        (CONTAINERD, CRIO),
    ),
    "an install directory that is noexec": Condition(mounted(INSTALL, "noexec"), root=True),
    "an install directory that is read-only": Condition(mounted(INSTALL, "ro"), root=True),
    "an install directory that is full": Condition(mounted(INSTALL, "size=4k"), root=True),
    "an immutable install directory": Condition(fixed(INSTALL), root=True),
    "an install directory below a file": Condition(
        both(is_a_file("/opt/x"), flag("--toolkit-install-dir=/opt/x/y"))
    ),
    "an install directory with a colon": Condition(flag("--toolkit-install-dir=/opt/a:b")),
    "an install directory that is relative": Condition(variable("ROOT", "nvidia")),
    "no payload": Condition(flag("--toolkit-source-root=/nowhere")),
    "an incomplete payload": Condition(
        payload_with(lambda at: (at / "usr/bin/nvidia-container-runtime").unlink())
    ),
    "a payload of another machine": Condition(payload_with(foreign)),
    "no shell": Condition(no_shell),
    "a reserved handler": Condition(flag("--runtime-name=runc")),
    "a handler with a slash": Condition(flag("--runtime-name=a/b")),
    "an unknown engine": Condition(flag("--runtime=podman")),
    "an unknown mode": Condition(flag("--restart-mode=maybe")),
    "a damaged journal": Condition(journal(b"{")),
    "a journal of tomorrow": Condition(journal(b'{"schema": {"major": 99, "minor": 0}}')),
    "a journal that is a directory": Condition(lambda host: host.path(JOURNAL).mkdir(parents=True)),
    "another's journal": Condition(journal_of_another),
    "a lock": Condition(locked()),
    "a lock without a PID": Condition(locked(content=b"")),
    "a directory for a pid file": Condition(
        lambda host: host.path(f"{RUN}/toolkit.pid").mkdir(parents=True)
    ),
    "a FIFO for a pid file": Condition(fifo_for_pid_file),
    "a link for a pid file": Condition(link(f"{RUN}/toolkit.pid")),
    "a link for a ready file": Condition(link(f"{RUN}/toolkit-ready")),
    "a pid file below a file": Condition(is_a_file("/run/nvidia")),
    "a pid file that is read-only": Condition(mounted("/run/nvidia", "ro"), root=True),
    "a pid file that is immutable": Condition(
        both(is_a_file(f"{RUN}/toolkit.pid"), fixed(f"{RUN}/toolkit.pid")), root=True
    ),
    "a ready file that is read-only": Condition(
        both(mounted("/run/ready", "ro"), flag("--ready-file=/run/ready/x/ready")), root=True
    ),
    "an address that is taken": Condition(address_taken),
    "CDI without a driver": Condition(flag("--cdi-enabled", "--driver-root-ctr-path=/none")),
    "a hooks directory that is read-only": Condition(
        both(mounted("/hooks", "ro"), flag("--config-mode=hook", "--hooks-dir=/hooks")),
        (CRIO,),
        root=True,
    ),
    "a container without a host": Condition(a_container),
}
HARMLESS = {"a container without a host"}
"""What keeps a start without an engine from nothing, and `doctor` says all the same."""
PAIRS = [
    (engine, mode, (one, other))
    for one, other in itertools.combinations(STATES, 2)
    for engine in sorted({*STATES[one].engines} & {*STATES[other].engines})
    for mode in MODES
]


@pytest.fixture(scope="module")
def payload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample_payload(tmp_path_factory.mktemp("shared") / "payload")


class Judged(NamedTuple):
    start: ToolkitError | None
    plan: ToolkitError | None
    findings: tuple[Finding, ...]
    refusal: ToolkitError | None = None
    """The flags or the host root can't be used."""

    @property
    def problems(self) -> list[str]:
        return [each.message for each in self.findings if each.verdict is Verdict.PROBLEM]


def judge(host: JudgedHost) -> Judged:
    """Ask `plan` and `doctor`, then start."""
    try:
        node = host.node()
    except ToolkitError as error:
        return Judged(error, error, (), error)
    return Judged(plan=plan_of(host), findings=examine(node), start=start_of(host))


def plan_of(host: JudgedHost) -> ToolkitError | None:
    return plan_with(host.node(first_write()))


def plan_with(node: Node) -> ToolkitError | None:
    shown = io.TextIOWrapper(io.BytesIO())
    with contextlib.redirect_stdout(shown):
        try:
            output.plan(node, Output.TEXT, detailed_exitcode=False)
        except ToolkitError as error:
            return error
    return None


def start_of(host: JudgedHost) -> ToolkitError | None:
    try:
        FirstDaemon.locked(host.node(first_write()), UninterruptedClock()).start()
    except ToolkitError as error:
        return error
    except CrashPoint:
        return None
    return None


class NoWorldError(Exception):
    """Two states that can't be at once."""


@contextlib.contextmanager
def world(payload: Path, engine: EngineName, mode: str, *names: str) -> Iterator[JudgedHost]:
    with tempfile.TemporaryDirectory(prefix="j") as directory:
        host = JudgedHost(Path(directory), engine, payload)
        host.flags.append(f"--restart-mode={mode}")
        try:
            try:
                for name in names:
                    STATES[name].change(host)
            except OSError as error:
                raise NoWorldError from error
            with host.standing():
                yield host
        finally:
            host.release()
            while KEPT:
                os.close(KEPT.pop())


def require_foretold(judged: Judged) -> None:
    """Assert that the three agree."""
    if judged.start is None:
        assert judged.plan is None, judged.plan
        return
    assert judged.plan is not None, f"a start: {judged.start}"
    assert str(judged.plan) == str(judged.start)
    assert judged.plan.exit_code == judged.start.exit_code
    if judged.refusal is None:
        assert judged.problems, f"a start: {judged.start}"


def judged_worlds(payload: Path, name: str, modes: Iterable[str]) -> Iterator[tuple[str, Judged]]:
    """Judge a state with every engine that it may be of."""
    for engine, mode in itertools.product(STATES[name].engines, modes):
        with world(payload, engine, mode, name) as host:
            yield f"{engine}, {mode}", judge(host)


def test_there_are_enough_worlds() -> None:
    assert sum(len(modes_of(name)) * len(STATES[name].engines) for name in STATES) >= 300


def modes_of(name: str) -> tuple[str, ...]:
    """Return half of the restart modes: another half for each state that follows."""
    number = tuple(STATES).index(name)
    return MODES[:2] if number % 2 else MODES[2:]


@needs_root
@pytest.mark.parametrize("name", STATES)
def test_what_a_start_refuses_is_told_before(name: str, payload: Path) -> None:
    require_told(name, judged_worlds(payload, name, modes_of(name)))


@needs_root
@pytest.mark.long
@pytest.mark.parametrize("name", STATES)
def test_it_is_in_every_restart_mode(name: str, payload: Path) -> None:
    require_told(name, judged_worlds(payload, name, MODES))


def require_told(name: str, worlds: Iterable[tuple[str, Judged]]) -> None:
    for where, judged in worlds:
        require_foretold(judged)
        if judged.start is None:
            assert judged.problems == [] or name in HARMLESS, where
        elif judged.refusal is None:
            assert judged.start.message in judged.problems, where


@needs_root
@pytest.mark.parametrize("part", range(4))
def test_of_two_at_once_the_first_is_told(part: int, payload: Path) -> None:
    require_pairs(payload, random.Random(part).sample(PAIRS, 20))  # noqa: S311 - the same each time


@needs_root
@pytest.mark.long
@pytest.mark.parametrize("part", range(40))
def test_of_any_two_at_once_the_first_is_told(part: int, payload: Path) -> None:
    require_pairs(payload, random.Random(f"long {part}").sample(PAIRS, 100))  # noqa: S311


def require_pairs(payload: Path, pairs: Iterable[tuple[EngineName, str, tuple[str, str]]]) -> None:
    for engine, mode, names in pairs:
        try:
            with world(payload, engine, mode, *names) as host:
                judged = judge(host)
        except NoWorldError:
            continue
        try:
            require_foretold(judged)
        except AssertionError as error:
            raise AssertionError(f"{engine}, {mode}, {' and '.join(names)}: {error}") from error
