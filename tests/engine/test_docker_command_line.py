"""What dockerd's own command line means for a setup: its flags, and the file that it reads."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.dockerd import DOCKER_RELEASES, RealDockerd, real_dockerd
from testbed.program import Installer
from testbed.supervised import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("_root")]


@pytest.fixture(params=DOCKER_RELEASES, ids=lambda release: f"docker-{release.series}")
def dockerd(request: pytest.FixtureRequest) -> Iterator[RealDockerd]:
    with real_dockerd(request.param) as engine:
        yield engine


@pytest.fixture
def installer(dockerd: RealDockerd) -> Iterator[Installer]:
    program = Installer(dockerd.directory, dockerd.variables)
    yield program
    program.end()


def finding(installer: Installer, check: str) -> dict[str, str]:
    document = json.loads(installer.run("doctor", "--output=json").stdout)
    found: dict[str, str]
    (found,) = [each for each in document["findings"] if each["check"] == check]
    return found


def test_a_live_reload_drops_what_a_flag_adds_and_doctor_says_so(
    dockerd: RealDockerd, installer: Installer
) -> None:
    dockerd.arguments = ("--add-runtime", "mine=/usr/bin/true", "--add-runtime=more=/bin/false")
    dockerd.start()
    assert {"mine", "more"} <= set(dockerd.info()["Runtimes"])
    told = finding(installer, "settings")
    assert told["verdict"] == "warning"
    assert told["message"] == (
        "dockerd was started with --add-runtime for mine, more: a live reload drops what the flag"
        f" adds; move it to runtimes in {dockerd.config}"
    )
    # What a setup does: the file has the key, which the flag's handlers are not in.
    dockerd.write({"runtimes": {"other": {"path": "/usr/bin/true"}}})
    os.kill(dockerd.process.pid, signal.SIGHUP)
    dockerd.wait_info(lambda info: not {"mine", "more"} & set(info["Runtimes"]))


def test_a_config_that_dockerd_does_not_read_is_refused_before_anything_is_written(
    dockerd: RealDockerd, installer: Installer
) -> None:
    dockerd.start()
    other = dockerd.directory / "other.json"
    other.write_text("{}")
    installer.variables = {**installer.variables, "DOCKER_CONFIG": str(other)}
    sentence = (
        f"DOCKER_CONFIG names {other}, but dockerd (PID {dockerd.process.pid}) reads only"
        f" {dockerd.config}; name that file, or omit DOCKER_CONFIG"
    )
    assert sentence in finding(installer, "distribution")["message"]
    for command in ("doctor", "plan", "--no-daemon"):
        done = installer.run(command)
        assert done.returncode == 1
    assert sentence in done.stderr
    assert other.read_text() == "{}"
    assert not installer.install_dir.exists()


def test_the_file_that_dockerd_reads_may_be_named_by_another_path(
    dockerd: RealDockerd, installer: Installer
) -> None:
    dockerd.start()
    link = dockerd.directory / "link.json"
    link.symlink_to(dockerd.config)
    installer.variables = {**installer.variables, "DOCKER_CONFIG": str(link)}
    assert installer.run("plan").returncode == 0


LISTENS = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.setresuid(4242, 4242, 4242)
listener.listen()
while True:
    connection = listener.accept()[0]
    connection.recv(64)
    connection.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n")
"""


def test_a_rootless_dockerd_is_not_set_up_as_the_systems(
    dockerd: RealDockerd, installer: Installer
) -> None:
    # Any program named dockerd that runs as a user: rootlesskit is in no package that is unpacked.
    program = dockerd.directory / "bin/dockerd"
    shutil.copy(Path(sys.executable).resolve(), program)
    command = ("dockerd", "-S", "-c", LISTENS, str(dockerd.socket))
    variables = {"PYTHONHOME": sys.base_prefix}
    with subprocess.Popen(command, executable=program, env=variables) as fake:
        try:
            wait_for(dockerd.socket.exists, "the socket")
            wait_for(lambda: "4242" in Path(f"/proc/{fake.pid}/status").read_text(), "the user")
            done = installer.run("--no-daemon")
        finally:
            fake.kill()
    assert done.returncode == 1
    assert f"dockerd (PID {fake.pid}) on {dockerd.socket} is rootless (user 4242)" in done.stderr
    assert not installer.install_dir.exists()
