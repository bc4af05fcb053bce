"""Setup and revert against each real dockerd: a live reload, and every byte back."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testbed.dockerd import RealDockerd
from testbed.program import HANDLERS, Installer, snapshot

pytestmark = pytest.mark.engine

ADMIN = b"""{
\t"runtimes": {
\t\t"crun": {"path": "LOW_LEVEL", "runtimeArgs": [ ]}
\t},
\t"default-runtime": "crun",
\t"features": { "buildkit": false },
\t"max-concurrent-uploads": 9007199254740993,
\t"labels": ["site=Z\\u00fcrich \\/ 7", "rack=\\u0031"],
\t"shutdown-timeout":   3
}"""
OWN_RUNTIMES = b'{\r\n  "runtimes": {"crun": {"path": "LOW_LEVEL"}}\r\n}\r\n'
OWN_DEFAULT = b'{"default-runtime":"runc"}\n'
FEATURES = b'{"features": {"buildkit": true}, "debug": false}'


@dataclass(frozen=True, slots=True)
class Given:
    """A ``daemon.json`` that dockerd starts with."""

    content: bytes | None
    default: str = "runc"


GIVEN = {
    "no file": Given(None),
    "an empty object": Given(b"{}"),
    "an admin's file": Given(ADMIN, default="crun"),
    "handlers without a default": Given(OWN_RUNTIMES),
    "the stock default spelled out": Given(OWN_DEFAULT),
    "features": Given(FEATURES),
}


@pytest.fixture
def installer(dockerd: RealDockerd) -> Iterator[Installer]:
    """The program, told of this engine by three variables."""
    program = Installer(dockerd.directory, dockerd.variables)
    yield program
    program.end()


def start(dockerd: RealDockerd, given: Given) -> None:
    """Start it with the given file, whose mode and owner have to be kept.

    A dockerd that was given a file's name does not start without the file, so it goes afterwards.
    """
    low_level = str(dockerd.directory / "bin/runc").encode()
    dockerd.config.write_bytes((given.content or b"{}").replace(b"LOW_LEVEL", low_level))
    dockerd.config.chmod(0o640)
    os.chown(dockerd.config, 0, 7)
    dockerd.start()
    if given.content is None:
        dockerd.config.unlink()


def runtimes(info: dict[str, Any]) -> dict[str, str]:
    """Return the handlers that ``/info`` shows with their binaries.

    Without containerd's shims by name, which dockerd takes unlisted as well: 20.10 and 26 list some
    until the first reload of any ``runtimes``.
    """
    return {
        name: str(each.get("path", ""))
        for name, each in info["Runtimes"].items()
        if not name.startswith("io.containerd.")
    }


def container_pid(dockerd: RealDockerd, container: str) -> int:
    return int(dockerd.docker("inspect", "--format={{.State.Pid}}", container))


@pytest.mark.parametrize("options", [(), ("--set-as-default=false",), ("--cdi-enabled",)], ids=str)
@pytest.mark.parametrize("name", GIVEN)
def test_a_live_reload_serves_the_handlers_and_their_end_leaves_every_byte_as_it_was(
    dockerd: RealDockerd, installer: Installer, name: str, options: tuple[str, ...]
) -> None:
    given = GIVEN[name]
    start(dockerd, given)
    before, pid, info_before = snapshot(dockerd.config.parent), dockerd.process.pid, dockerd.info()
    assert info_before["DefaultRuntime"] == given.default

    cdi = ("--cdi-output-dir=", "--create-device-nodes=none") if "--cdi-enabled" in options else ()
    installer.start(*options, *cdi)
    installer.wait_ready()
    info = dockerd.info()
    served = runtimes(info)
    assert {key: served.get(key) for key in HANDLERS} == installer.binaries()
    kept = "--set-as-default=false" in options
    assert info["DefaultRuntime"] == (given.default if kept else "nvidia")
    assert dockerd.process.pid == pid
    assert_only_ours_was_added(dockerd, given, cdi=bool(cdi))

    assert installer.stop() == 0, installer.log()
    info = dockerd.info()
    assert runtimes(info) == runtimes(info_before)
    assert info["DefaultRuntime"] == given.default
    assert dockerd.process.pid == pid
    assert snapshot(dockerd.config.parent) == before
    assert not installer.install_dir.exists()
    assert not installer.pid_file.parent.exists()

    if given.content is None:
        return
    # The file that is left is one that dockerd starts with, too.
    dockerd.process.kill(signal.SIGTERM)
    dockerd.wait_new_process(pid)
    assert dockerd.info()["DefaultRuntime"] == given.default


def assert_only_ours_was_added(dockerd: RealDockerd, given: Given, *, cdi: bool) -> None:
    low_level = str(dockerd.directory / "bin/runc").encode()
    old = json.loads((given.content or b"{}").replace(b"LOW_LEVEL", low_level))
    new = json.loads(dockerd.config.read_bytes())
    for name in HANDLERS:
        del new["runtimes"][name]
    new["default-runtime"] = old.get("default-runtime")
    if cdi:
        assert new["features"].pop("cdi") is True
    assert {k: v for k, v in new.items() if v} == {k: v for k, v in old.items() if v}


def test_a_container_runs_through_the_handler_and_earlier_ones_live_on(
    dockerd: RealDockerd, installer: Installer
) -> None:
    dockerd.start()
    image = dockerd.import_image()
    earlier = dockerd.docker("run", "--detach", "--network=none", image).strip()
    pid = container_pid(dockerd, earlier)
    run = ("run", "--rm", "--network=none")

    installer.start()
    installer.wait_ready()
    assert container_pid(dockerd, earlier) == pid
    through = ("--runtime=nvidia", image, "/bin/echo", "through nvidia")
    assert dockerd.docker(*run, *through) == "through nvidia\n"
    assert dockerd.docker(*run, image, "/bin/echo", "by default") == "by default\n"

    assert installer.stop() == 0, installer.log()
    assert not installer.install_dir.exists()
    assert container_pid(dockerd, earlier) == pid
    assert dockerd.docker(*run, image, "/bin/echo", "afterwards") == "afterwards\n"
    with pytest.raises(RuntimeError, match="nvidia"):
        dockerd.docker(*run, *through)
    dockerd.docker("rm", "--force", earlier)


def test_the_payload_stays_while_a_container_needs_it_and_goes_afterwards(
    dockerd: RealDockerd, installer: Installer
) -> None:
    dockerd.start()
    image = dockerd.import_image()
    installer.start()
    installer.wait_ready()
    arguments = ("run", "--detach", "--network=none", "--name=holder", "--runtime=nvidia")
    dockerd.docker(*arguments, image)
    assert installer.stop() == 0, installer.log()
    assert Path(installer.binary("nvidia")).exists()
    assert "holder" in installer.log()

    dockerd.docker("rm", "--force", "holder")
    done = installer.run("revert")
    assert done.returncode == 0, done.stderr
    assert not installer.install_dir.exists()


def test_a_second_start_with_nothing_changed_touches_neither_file_nor_engine(
    dockerd: RealDockerd, installer: Installer
) -> None:
    dockerd.start()
    installer.start("--on-exit=keep")
    installer.wait_ready()
    assert installer.stop() == 0, installer.log()
    files, reloads = snapshot(dockerd.config.parent, installer.install_dir), dockerd.reloads()
    inode = dockerd.config.stat().st_ino
    assert reloads == 1

    installer.start("--on-exit=keep")
    installer.wait_ready()
    assert installer.stop() == 0, installer.log()
    assert dockerd.reloads() == reloads
    assert dockerd.config.stat().st_ino == inode
    assert snapshot(dockerd.config.parent, installer.install_dir) == files
    assert installer.run("revert").returncode == 0


def test_a_later_start_with_another_name_and_without_the_default_takes_both_back(
    dockerd: RealDockerd, installer: Installer
) -> None:
    start(dockerd, GIVEN["an empty object"])
    before, pid = snapshot(dockerd.config.parent), dockerd.process.pid
    installer.start("--on-exit=keep")
    installer.wait_ready()
    assert installer.stop() == 0, installer.log()
    assert dockerd.info()["DefaultRuntime"] == "nvidia"

    installer.start("--runtime-name=gpu", "--set-as-default=false")
    installer.wait_ready()
    served = runtimes(dockerd.info())
    assert served["gpu"] == installer.binary("nvidia")
    assert "nvidia" not in served
    assert dockerd.info()["DefaultRuntime"] == "runc"

    assert installer.stop() == 0, installer.log()
    assert set(runtimes(dockerd.info())) == {"runc"}
    assert dockerd.process.pid == pid
    assert snapshot(dockerd.config.parent) == before


def test_a_default_given_as_a_flag_is_refused_before_anything_is_written(
    dockerd: RealDockerd, installer: Installer
) -> None:
    dockerd.arguments = ("--default-runtime", "runc")
    dockerd.start()
    before = snapshot(dockerd.config.parent)
    done = installer.run()
    assert done.returncode == 1
    assert "--default-runtime=runc" in done.stderr
    assert snapshot(dockerd.config.parent) == before
    assert not installer.install_dir.exists()
    assert dockerd.reloads() == 0

    installer.start("--set-as-default=false")
    installer.wait_ready()
    info = dockerd.info()
    assert set(HANDLERS) <= set(info["Runtimes"])
    assert info["DefaultRuntime"] == "runc"
    assert installer.stop() == 0, installer.log()
    assert not set(HANDLERS) & set(dockerd.info()["Runtimes"])
    assert snapshot(dockerd.config.parent) == before


@pytest.mark.parametrize("broken", [b"{", b"[]", b'{"runtimes": []}', b"\xff", b'{"a": 1} x'])
def test_a_file_that_can_not_be_edited_is_one_line_and_changes_nothing(
    dockerd: RealDockerd, installer: Installer, broken: bytes
) -> None:
    dockerd.start()
    dockerd.config.write_bytes(broken)
    before = snapshot(dockerd.config.parent)
    done = installer.run("--debug=false")
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if "ERROR" in line.upper()]
    assert len(errors) == 1, done.stderr
    assert str(dockerd.config) in errors[0]
    assert "Traceback" not in done.stderr
    assert snapshot(dockerd.config.parent) == before
    assert not installer.install_dir.exists()


def test_a_file_that_dockerd_rejects_is_restored_with_exit_code_1(
    dockerd: RealDockerd, installer: Installer
) -> None:
    dockerd.start()
    dockerd.config.write_bytes(b'{"no-such-key": 1}')
    before, process = dockerd.info(), dockerd.process.pid
    done = installer.run("--no-daemon")
    assert done.returncode == 1, done.stderr
    assert dockerd.config.read_bytes() == b'{"no-such-key": 1}'
    assert dockerd.process.pid == process
    found = dockerd.info()
    assert (found["Runtimes"], found["DefaultRuntime"]) == (
        before["Runtimes"],
        before["DefaultRuntime"],
    )
    assert not installer.install_dir.exists()


def test_a_change_by_others_is_repaired_and_theirs_is_kept(
    dockerd: RealDockerd, installer: Installer
) -> None:
    dockerd.start()
    installer.start("--reconcile-interval=0.2")
    installer.wait_ready()
    dockerd.config.write_bytes(b'{"debug": false,\n "labels": ["a=b"]}\n')
    dockerd.wait_config(lambda content: b"nvidia" in content)
    dockerd.wait_info(lambda info: info["DefaultRuntime"] == "nvidia")
    installer.wait_ready()
    assert installer.stop() == 0, installer.log()
    assert dockerd.config.read_bytes() == b'{"debug": false,\n "labels": ["a=b"]}\n'
    info = dockerd.info()
    assert info["DefaultRuntime"] == "runc"
    assert not set(HANDLERS) & set(info["Runtimes"])


def test_a_dockerd_that_was_given_its_socket_is_reloaded_and_its_listener_left_alone(
    dockerd: RealDockerd, installer: Installer
) -> None:
    dockerd.activated = True
    dockerd.start()
    listener = dockerd.process.pid
    installer.start()
    installer.wait_ready()
    assert dockerd.info()["DefaultRuntime"] == "nvidia"
    assert installer.stop() == 0, installer.log()
    assert dockerd.info()["DefaultRuntime"] == "runc"
    # SIGHUP would have ended it.
    assert dockerd.process.pid == listener
    assert [event.event for event in dockerd.process.events()] == ["spawned"]
