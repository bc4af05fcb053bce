"""What people get wrong: each is one clear line, at once, and nothing on the host changes."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from testbed.sample_payload import make_sample_payload


class Mistake(NamedTuple):
    line: str
    """A pattern that the one line matches from its message on; D stands for the directory."""
    arguments: tuple[str, ...] = ()
    variables: Mapping[str, str] = {}
    prepare: Callable[[Path], int | None] = lambda _directory: None
    code: int = 2


def broken_config(directory: Path) -> None:
    (directory / "config.toml").write_text("version = 2\n[plugins\n")


def locked(directory: Path) -> int:
    path = directory / "run/toolkit.pid"
    path.parent.mkdir()
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def without_payload(directory: Path) -> None:
    (directory / "payload").rename(directory / "elsewhere")


def socket_directory(directory: Path) -> None:
    (directory / "containerd.sock").mkdir()


def refusing(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as nobody:
        nobody.bind(str(directory / "containerd.sock"))


MISTAKES = {
    "a misspelt command": Mistake("unknown command 'docter'; did you mean doctor\\?", ("docter",)),
    "a Boolean with a loose value": Mistake(
        "unknown command 'false'; join .* --set-as-default=false", ("--set-as-default", "false")
    ),
    "a misspelt flag": Mistake(
        "--runtme: unknown option; did you mean --runtime\\?", ("--runtme=x",)
    ),
    "an unknown engine": Mistake("RUNTIME: 'podman' .*docker", variables={"RUNTIME": "podman"}),
    "a relative path": Mistake(
        "CONTAINERD_CONFIG: 'etc/x' .*", variables={"CONTAINERD_CONFIG": "etc/x"}
    ),
    "a time with a unit": Mistake("--verify-timeout: '5s' .*", ("--verify-timeout=5s",)),
    "a pid file of another name": Mistake(
        "--pid-file: '/run/x.pid' .*", ("--pid-file=/run/x.pid",)
    ),
    "an engine's own handler": Mistake("--runtime-class: 'runc' .*", ("--runtime-class=runc",)),
    "another binary in the override": Mistake(
        "RUNTIME_CONFIG_OVERRIDE: options.BinaryName .*",
        variables={"RUNTIME_CONFIG_OVERRIDE": '{"options": {"BinaryName": "/x"}}'},
    ),
    "NRI without a namespace": Mistake(
        "ENABLE_NRI_PLUGIN: .*--nri-namespace or NRI_NAMESPACE",
        variables={"ENABLE_NRI_PLUGIN": "1"},
    ),
    "a flag of another command": Mistake(
        "--purge is only valid with 'revert'", ("status", "--purge")
    ),
    "two commands": Mistake("'status' is one argument too many; .*", ("plan", "status")),
    "a host root that is not there": Mistake(
        "host root D/none is not a directory.*", variables={"HOST_ROOT_MOUNT": "D/none"}, code=1
    ),
    "a directory in the socket's place": Mistake(
        "D/containerd.sock is a directory, not a socket; remove it.*",
        prepare=socket_directory,
        code=1,
    ),
    "no engine where auto looks": Mistake(
        "no engine (answers on this node|can be set up here): no containerd answers on"
        " D/containerd.sock: .*; no crio .*; no docker .*--runtime and --socket",
        variables={"RUNTIME": "auto"},
        code=1,
    ),
    "a dead engine": Mistake(
        "containerd can't be reached at D/containerd.sock: .*Connection refused; start it.*",
        ("--verify-timeout=0.1",),
        prepare=refusing,
        code=1,
    ),
    "a payload that is not there": Mistake(
        ".*D/payload.*",
        ("--no-runtime-config",),
        prepare=without_payload,
        code=1,
    ),
    "a config that does not parse": Mistake(
        "D/config.toml.*", ("plan",), prepare=broken_config, code=1
    ),
    "a word for help": Mistake("unknown command 'help'; did you mean --help\\?", ("help",)),
    "another installer's command": Mistake(
        "unknown command 'install'; a call without a command sets up", ("install",)
    ),
    "another word for revert": Mistake(
        "unknown command 'uninstall'; did you mean revert\\?", ("uninstall",)
    ),
    "a variable as an argument": Mistake(
        "unknown command 'RUNTIME=docker'; RUNTIME is a variable: set it in the environment .*",
        ("RUNTIME=docker",),
    ),
    "a dash of a word processor": Mistake(
        "unknown command '\N{EN DASH}-runtime=docker'; a flag begins with two plain hyphens, .*",
        ("\N{EN DASH}-runtime=docker",),
    ),
    "short flags in one": Mistake("-rn: unknown option; write them apart: -r -n", ("-rn",)),
    "two equals signs": Mistake("--runtime: '=docker' is not known; .*", ("--runtime==docker",)),
    "quotes within a variable": Mistake(
        "RUNTIME: '\"docker\"' is not known; .*", variables={"RUNTIME": '"docker"'}
    ),
    "a name with a hyphen": Mistake("RUNTIME: 'cri-o' .*crio.*", variables={"RUNTIME": "cri-o"}),
    "a flag without its value": Mistake(
        "--runtime: its value is missing; write --runtime=VALUE", ("plan", "--runtime")
    ),
    "a socket over TCP": Mistake(
        "--socket: 'tcp://127.0.0.1:2375' is not an absolute path; .*",
        ("--socket=tcp://127.0.0.1:2375",),
    ),
    "a home directory": Mistake(
        "--toolkit-install-dir: '~/nvidia' is not an absolute path; .*",
        ("--toolkit-install-dir=~/nvidia",),
    ),
    "another format": Mistake(
        "--output: 'yaml' is not known; write one of text, json", ("status", "--output=yaml")
    ),
    "no time at all": Mistake(
        "--verify-timeout: '0' is not a positive number of seconds; .*", ("--verify-timeout=0",)
    ),
    "a port that is none": Mistake(
        "--health-address: ':99999' is not an address; .*", ("--health-address=:99999",)
    ),
    "another restart mode": Mistake(
        "--restart-mode: 'service' is not known; .*systemd.*", ("--restart-mode=service",)
    ),
    "an override that is no JSON": Mistake(
        "--runtime-config-override: '{a:1}' is not JSON: .*", ("--runtime-config-override={a:1}",)
    ),
    "a CDI kind without a vendor": Mistake(
        "--cdi-kind: 'nvidia' is not a CDI kind; .*", ("--cdi-kind=nvidia",)
    ),
    "two install directories": Mistake(
        "'/opt/b' is one argument too many; .*", ("/opt/a", "/opt/b")
    ),
    "a host root that is a file": Mistake(
        "host root D/config.toml is not a directory; .*",
        variables={"HOST_ROOT_MOUNT": "D/config.toml"},
        code=1,
    ),
    "a payload that is a file": Mistake(
        "payload directory D/config.toml is not a directory; .*",
        ("--no-runtime-config",),
        {"TOOLKIT_SOURCE_ROOT": "D/config.toml"},
        code=1,
    ),
    "a directory for a config": Mistake(
        "cannot read D/payload: Is a directory",
        ("--restart-mode=none",),
        {"CONTAINERD_CONFIG": "D/payload"},
        code=1,
    ),
    "a pid file that can't be": Mistake(
        "cannot lock D/config.toml/toolkit.pid: Not a directory; name another with --pid-file",
        variables={"TOOLKIT_PID_FILE": "D/config.toml/toolkit.pid"},
        code=1,
    ),
    "a second instance": Mistake("D/run/toolkit.pid .*", prepare=locked, code=4),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_typical_mistake_is_one_clear_line(
    name: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    mistake = MISTAKES[name]
    make_sample_payload(tmp_path / "payload")
    (tmp_path / "config.toml").write_text("version = 2\n")
    held = mistake.prepare(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    variables = {
        "HOST_ROOT_MOUNT": "/",
        "RUNTIME": "containerd",
        "ROOT": f"{tmp_path}/nvidia",
        "TOOLKIT_SOURCE_ROOT": f"{tmp_path}/payload",
        "TOOLKIT_PACKAGE_TYPE": "deb",
        "TOOLKIT_PID_FILE": f"{tmp_path}/run/toolkit.pid",
        "CONTAINERD_CONFIG": f"{tmp_path}/config.toml",
        "CONTAINERD_SOCKET": f"{tmp_path}/containerd.sock",
        "CRIO_SOCKET": f"{tmp_path}/crio.sock",
        "DOCKER_SOCKET": f"{tmp_path}/docker.sock",
        **{key: value.replace("D/", f"{tmp_path}/") for key, value in mistake.variables.items()},
    }
    began = time.monotonic()
    done = subprocess.run(
        (sys.executable, "-m", "toolkit", *mistake.arguments),
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    record_property("seconds", round(time.monotonic() - began, 3))
    errors = [line for line in done.stderr.splitlines() if " ERROR   " in line]
    assert done.returncode == mistake.code, done.stderr
    (line,) = errors
    message = line.partition(" ERROR   ")[2].replace(str(tmp_path), "D")
    assert re.fullmatch(mistake.line, message), message
    others = [each for each in done.stderr.splitlines() if each not in errors]
    assert all(" INFO " in each or " WARNING " in each for each in others), done.stderr
    assert len(others) <= 1
    assert [
        path for path in sorted(tmp_path.rglob("*")) if path.parent.name != "run"
    ] == before or (name == "a second instance")
    del held
