"""What can't be used is told in one line that names it, and nothing on the host has changed."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.program_host import CONFIG, ProgramHost
from toolkit.errors import ExitCode

Change = Callable[[ProgramHost], None]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ProgramHost]:
    made = ProgramHost(tmp_path / "work")
    yield made
    for path in made.directory.rglob("*.sock"):
        path.unlink()


def everything(host: ProgramHost) -> dict[str, tuple[object, ...]]:
    """Return every entry of all directories with mode, owner, times and content."""
    found: dict[str, tuple[object, ...]] = {}
    for parent, directories, files in os.walk(host.directory):
        for name in (*directories, *files):
            path = Path(parent, name)
            state = path.lstat()
            plain = path.is_file() and not path.is_symlink()
            # Taking and giving back the lock touches the directory of the pid file.
            time = 0 if path.name == "run" else state.st_mtime_ns
            found[str(path)] = (
                *(state.st_mode, state.st_uid, state.st_gid, time, state.st_ino),
                path.read_bytes() if plain else None,
            )
    return found


def config(content: bytes) -> Change:
    def change(host: ProgramHost) -> None:
        host.config.write_bytes(content)

    return change


def variable(name: str, value: str) -> Change:
    def change(host: ProgramHost) -> None:
        host.variables[name] = value.format(directory=host.directory)

    return change


def without(name: str) -> Change:
    def change(host: ProgramHost) -> None:
        (host.directory / "payload/usr/bin" / name).unlink()

    return change


def engine_needed(host: ProgramHost) -> None:
    host.variables |= {"RUNTIME_RESTART_MODE": "signal", "TOOLKIT_VERIFY_TIMEOUT": "1"}


def strangers_socket(host: ProgramHost) -> None:
    engine_needed(host)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(host.directory / "run/absent.sock"))


def install_dir_below_a_file(host: ProgramHost) -> None:
    (host.host / "opt").write_bytes(b"no directory")


def config_is_a_directory(host: ProgramHost) -> None:
    host.config.unlink()
    host.config.mkdir()


def config_is_a_fifo(host: ProgramHost) -> None:
    host.config.unlink()
    os.mkfifo(host.config)


def cdi_without_a_driver(host: ProgramHost) -> None:
    """Ask for a spec; a start that does not stay (``NO_DAEMON``) can't wait for the driver."""
    host.variables |= {"CDI_ENABLED": "true", "DRIVER_ROOT": str(host.directory / "no-driver")}


def journal_of(host: ProgramHost) -> Path:
    assert host.set_up().returncode == 0
    (host.directory / "run/toolkit-ready").unlink()
    return host.install_dir / ".toolkit-journal/journal.json"


def journal_of_another_user(host: ProgramHost) -> None:
    """Somebody else could have root overwrite any file by what it says."""
    os.chown(journal_of(host), 1234, 1234)


def journal_that_all_can_write(host: ProgramHost) -> None:
    journal_of(host).chmod(0o666)


CASES: dict[str, tuple[Change, ExitCode, str]] = {
    "no TOML": (config(CONFIG + b"\n[broken\n"), ExitCode.FAILED, r"config\.toml"),
    "no text": (config(b"\xff\xfe\x00"), ExitCode.FAILED, r"config\.toml"),
    "version is not a number": (
        config(b'version = "two"\n'),
        ExitCode.FAILED,
        r"config\.toml.*version",
    ),
    "CRI is disabled": (
        config(b'version = 2\ndisabled_plugins = ["cri"]\n'),
        ExitCode.FAILED,
        r"config\.toml.*disabled_plugins.*cri",
    ),
    "a directory for a file": (config_is_a_directory, ExitCode.FAILED, r"config\.toml"),
    "a FIFO for a file": (config_is_a_fifo, ExitCode.FAILED, r"config\.toml"),
    "no engine": (engine_needed, ExitCode.FAILED, r"absent\.sock"),
    "a dead socket": (strangers_socket, ExitCode.FAILED, r"absent\.sock"),
    "a payload file is missing": (
        without("nvidia-container-runtime"),
        ExitCode.FAILED,
        r"nvidia-container-runtime",
    ),
    "no payload": (
        variable("TOOLKIT_SOURCE_ROOT", "{directory}/nowhere"),
        ExitCode.FAILED,
        r"nowhere",
    ),
    "an install directory below a file": (
        install_dir_below_a_file,
        ExitCode.FAILED,
        r"opt",
    ),
    "an install directory that is read-only": (
        variable("ROOT", "/proc/nvidia"),
        ExitCode.FAILED,
        r"/proc/nvidia",
    ),
    "a journal of another user": (
        journal_of_another_user,
        ExitCode.FAILED,
        r"journal\.json.*other users.*owner 1234.*chown",
    ),
    "a journal that all can write": (
        journal_that_all_can_write,
        ExitCode.FAILED,
        r"journal\.json.*other users.*mode 0666.*chmod",
    ),
    "a relative install directory": (variable("ROOT", "nvidia"), ExitCode.USAGE, r"ROOT"),
    "CDI without a driver": (
        cdi_without_a_driver,
        ExitCode.FAILED,
        r"CDI spec needs the NVIDIA driver: .*no-driver",
    ),
    "a Boolean": (
        variable("NVIDIA_RUNTIME_SET_AS_DEFAULT", "perhaps"),
        ExitCode.USAGE,
        r"NVIDIA_RUNTIME_SET_AS_DEFAULT",
    ),
    "an engine": (variable("RUNTIME", "podman"), ExitCode.USAGE, r"RUNTIME"),
    "a time": (
        variable("TOOLKIT_VERIFY_TIMEOUT", "soon"),
        ExitCode.USAGE,
        r"TOOLKIT_VERIFY_TIMEOUT",
    ),
    "JSON": (
        variable("RUNTIME_CONFIG_OVERRIDE", "{{"),
        ExitCode.USAGE,
        r"RUNTIME_CONFIG_OVERRIDE",
    ),
    "a pid file's name": (
        variable("TOOLKIT_PID_FILE", "/run/other.pid"),
        ExitCode.USAGE,
        r"TOOLKIT_PID_FILE",
    ),
}


@pytest.mark.parametrize(("change", "code", "told"), CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("command", [(), ("plan",)], ids=["setup", "plan"])
def test_it_is_told_in_one_line_and_nothing_has_changed(
    host: ProgramHost, change: Change, code: ExitCode, told: str, command: tuple[str, ...]
) -> None:
    change(host)
    before = everything(host)
    done = host.run(*command)
    if command and done.returncode == 0 and "sock" in told:
        return  # a plan can be made for an engine that does not answer
    if command and done.returncode == 0 and "CDI" in told:
        assert "a setup would fail without the driver" in done.stdout
        return
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if " ERROR " in line]
    assert len(errors) == 1, done.stderr
    assert re.search(told, errors[0]), errors[0]
    after = everything(host)
    assert {path for path in before if before[path] != after.get(path)} == set()
    assert set(after) == set(before)
