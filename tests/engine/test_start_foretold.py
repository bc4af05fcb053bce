"""With real engines: `plan` ends with what a start ends with before it writes, `doctor` with 1.

The many worlds of ``tests/property/test_start_foretold.py`` have engines of answers.
"""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple

import pytest

from testbed.containerd import RELEASES, RealContainerd, real_containerd
from testbed.dockerd import DOCKER_RELEASES, RealDockerd, real_dockerd
from testbed.program import Installer, snapshot
from tests.engine.test_doctor import mounted

pytestmark = pytest.mark.engine
CHATTR = "/usr/bin/chattr"
Engine = RealContainerd | RealDockerd
ENGINES: dict[str, Callable[[], AbstractContextManager[Engine]]] = {
    "containerd 1.7": lambda: real_containerd(RELEASES[1]),
    "containerd 2.1": lambda: real_containerd(RELEASES[2]),
    "docker 28": lambda: real_dockerd(DOCKER_RELEASES[-1]),
}


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Nothing of it is changed here: every start is refused."""
    with ENGINES[request.param]() as made:
        made.start()
        yield made


@pytest.fixture
def installer(engine: Engine) -> Installer:
    return installer_of(engine)


def installer_of(engine: Engine) -> Installer:
    name = "containerd" if isinstance(engine, RealContainerd) else "docker"
    return Installer(
        engine.directory,
        {
            "RUNTIME": name,
            "RUNTIME_CONFIG": str(engine.config),
            "RUNTIME_DROP_IN_CONFIG": str(engine.config.parent / "conf.d/99-nvidia.toml"),
            "RUNTIME_SOCKET": str(engine.socket),
            "TOOLKIT_DEBUG": "false",
            "TOOLKIT_VERIFY_TIMEOUT": "0.2",
        },
    )


class World(NamedTuple):
    says: str
    """A part of the start's message."""
    variables: Mapping[str, str] = {}
    """D stands for the directory."""
    commands: tuple[str, ...] = ()
    """Carried out before the program in a mount namespace of its own; C stands for the config."""
    prefix: tuple[str, ...] = ()
    around: Callable[[Installer, Engine], AbstractContextManager[object]] = (
        lambda _installer, _engine: contextlib.nullcontext()
    )


@contextlib.contextmanager
def locked(installer: Installer, _engine: Engine) -> Iterator[None]:
    installer.pid_file.parent.mkdir(exist_ok=True)
    with installer.pid_file.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    installer.pid_file.unlink()


@contextlib.contextmanager
def immutable(_installer: Installer, engine: Engine) -> Iterator[None]:
    existed = engine.config.exists()
    if not existed:
        engine.config.write_text("{}\n")
    subprocess.run((CHATTR, "+i", engine.config), check=True)
    try:
        yield
    finally:
        subprocess.run((CHATTR, "-i", engine.config), check=True)
        if not existed:
            engine.config.unlink()


def has_immutable_files() -> bool:
    """Return whether a file can be made immutable here; tmpfs before Linux 6.6 can't."""
    with tempfile.NamedTemporaryFile() as file:
        made = subprocess.run((CHATTR, "+i", file.name), check=False, capture_output=True)
        subprocess.run((CHATTR, "-i", file.name), check=False, capture_output=True)
    return made.returncode == 0


BROKEN = "[broken"
"""Neither TOML nor JSON."""
WORLDS = {
    "a config that is none": World(
        "C", commands=(f"echo '{BROKEN}' >B", "[ -e C ] || touch C", "mount --bind B C")
    ),
    "a read-only config": World(
        "Read-only file system",
        commands=("mount --bind E E", "mount -o remount,bind,ro E"),
    ),
    "a config that the engine does not read": World(
        "reads", {"RUNTIME_CONFIG": "D/elsewhere.conf"}
    ),
    "no socket": World("can't be reached", {"RUNTIME_SOCKET": "D/none.sock"}),
    "a directory for a socket": World("is a directory, not a socket", {"RUNTIME_SOCKET": "D/etc"}),
    "no payload": World("does not exist", {"TOOLKIT_SOURCE_ROOT": "D/none"}),
    "a noexec install directory": World("noexec", commands=("mount -t tmpfs -o noexec none I",)),
    "a read-only pid file": World(
        "cannot lock", commands=("mkdir -p R", "mount -t tmpfs -o ro none R")
    ),
    "another installer": World("is locked by another instance", around=locked),
    "another PID namespace": World(
        "can't be seen from this PID namespace",
        prefix=("unshare", "--pid", "--fork", "--mount-proc"),
    ),
    "no right to trace": World("", prefix=("setpriv", "--bounding-set=-sys_ptrace")),
    "no systemd": World("systemd", {"RUNTIME_RESTART_MODE": "systemd"}),
    "no driver": World(
        "CDI spec needs the NVIDIA driver", {"CDI_ENABLED": "true", "DRIVER_ROOT": "D/none"}
    ),
    "an engine that is not there": World("", {"RUNTIME": "crio", "RUNTIME_SOCKET": "D/crio.sock"}),
}
if has_immutable_files():
    WORLDS["an immutable config"] = World("Operation not permitted", around=immutable)


def last_error(done: subprocess.CompletedProcess[str]) -> str:
    errors = [line for line in done.stderr.splitlines() if " ERROR   " in line]
    assert len(errors) == 1, done.stderr
    return errors[0].partition(" ERROR   ")[2]


def require_foretold(installer: Installer, says: str) -> None:
    plan, doctor = installer.run("plan", "--no-daemon"), installer.run("doctor", "--no-daemon")
    start = installer.run("--no-daemon")
    assert start.returncode, start.stderr
    assert says in last_error(start)
    assert last_error(plan) == last_error(start)
    assert plan.returncode == start.returncode
    assert doctor.returncode == 1, doctor.stdout


@pytest.mark.parametrize("name", WORLDS)
def test_what_a_start_refuses_is_told_before(
    name: str, engine: Engine, installer: Installer
) -> None:
    world, directory = WORLDS[name], str(engine.directory)
    places = {
        "B": f"{directory}/broken",
        "C": str(engine.config),
        "E": str(engine.config.parent),
        "I": str(installer.install_dir),
        "R": str(installer.pid_file.parent),
    }
    commands = [
        " ".join(
            places.get(word.lstrip(">"), word) if ">" not in word else f">{places[word[1:]]}"
            for word in each.split(" ")
        )
        for each in world.commands
    ]
    named = {key: value.replace("D/", f"{directory}/") for key, value in world.variables.items()}
    installer.variables = {**installer.variables, **named}
    installer.prefix = world.prefix or (mounted(*commands) if commands else ())
    installer.install_dir.mkdir(exist_ok=True)
    with world.around(installer, engine):
        before = snapshot(engine.config.parent, installer.install_dir)
        require_foretold(installer, places.get(world.says, world.says))
        assert snapshot(engine.config.parent, installer.install_dir) == before


WRONG = {"containerd 2.1": 'version = 2\noom_score = "high"\n', "docker 28": '{"runtimes": []}\n'}


@pytest.mark.parametrize("name", WRONG)
def test_an_engine_that_is_down_by_its_config_is_told_by_its_own_words(name: str) -> None:
    with ENGINES[name]() as engine:
        engine.config.parent.mkdir(exist_ok=True)
        wrong = (
            'version = 2\noom_score = "high"\n' if "containerd" in name else '{"runtimes": []}\n'
        )
        engine.config.write_text(wrong)
        installer = installer_of(engine)
        installer.variables = {
            **installer.variables,
            "RUNTIME_EXECUTABLE_PATH": str(engine.binary),
        }
        require_foretold(installer, "would not start with that")
        assert last_error(installer.run("plan")).startswith(f"{engine.config}:")
