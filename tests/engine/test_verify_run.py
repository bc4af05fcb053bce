"""`verify --run` and `--verify=run`: what each handler really starts; nothing of it stays."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator

import pytest

from testbed.containerd import RELEASES, RealContainerd
from testbed.dockerd import RealDockerd
from testbed.program import Installer, snapshot
from testbed.supervised import wait_for
from tests.engine.resident import installer_of, wait_idle, wait_said

pytestmark = pytest.mark.engine
one_release = pytest.mark.parametrize(
    "containerd_release",
    [each for each in RELEASES if each.series == "1.7"],
    ids=lambda each: f"containerd-{each.series}",
)
RUN = {"TOOLKIT_VERIFY": "run"}


@pytest.fixture
def installer(containerd: RealContainerd) -> Iterator[Installer]:
    program = installer_of(containerd)
    yield program
    program.end()


def sandboxes_reported(containerd: RealContainerd) -> set[str]:
    """Return the ids of all sandboxes that were ever started, by the engine's log."""
    return set(re.findall(r"sandbox id .{0,2}([0-9a-f]{64})", containerd.process.log()))


def left_by(containerd: RealContainerd) -> list[str]:
    """Return the engine's containers and tasks, and the cgroups of sandboxes that it reported."""
    reported = sandboxes_reported(containerd)
    below = (name for _, names, _ in os.walk("/sys/fs/cgroup") for name in names)
    return [
        *containerd.ctr("containers", "list", "-q").split(),
        *containerd.ctr("tasks", "list", "-q").split(),
        *(name for name in below if any(each in name for each in reported)),
    ]


def tried(installer: Installer, *arguments: str) -> tuple[int, dict[str, tuple[str | None, str]]]:
    """Return the exit code, and by handler what was started and why not."""
    done = installer.run("verify", "--run", "--output=json", *arguments)
    document = json.loads(done.stdout)
    found = {each["handler"]: (each["binary"], each["failure"]) for each in document["tried"]}
    return done.returncode, found


def test_each_handler_starts_our_binary_and_nothing_stays(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.process.sample_driver = True
    containerd.start()
    containerd.import_image()
    installer.variables = {**installer.variables, **RUN}
    done = installer.run("--no-daemon")
    assert done.returncode == 0, done.stderr
    assert "each handler started something" in done.stderr
    wait_for(lambda: left_by(containerd) == [], "nothing to be left")
    binaries = installer.binaries()
    code, found = tried(installer)
    assert (code, found) == (
        0,
        {
            **{name: (str(path), "") for name, path in binaries.items()},
            "": (str(binaries["nvidia"]), ""),
        },
    )
    text = installer.run("verify", "--run").stdout
    assert f"started: the default handler {binaries['nvidia']}\n" in text
    assert len(sandboxes_reported(containerd)) == 3 * 4
    wait_for(lambda: left_by(containerd) == [], "nothing to be left")


def test_without_run_nothing_is_started_by_the_command(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    assert installer.run("--no-daemon").returncode == 0
    installer.variables = {**installer.variables, **RUN}
    document = json.loads(installer.run("verify", "--output=json").stdout)
    assert (document["tried"], document["ok"]) == ([], True)


def test_a_runtime_that_fails_is_named_and_rolls_a_setup_back(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    containerd.import_image()
    before = snapshot(containerd.config.parent)
    runtime = installer.source / "usr/bin/nvidia-container-runtime.cdi"
    runtime.write_text("#!/bin/sh\necho the driver is on fire >&2\nexit 1\n")
    containerd.process.stop()
    containerd.process.sample_driver = True
    containerd.start()
    done = installer.run("--no-daemon", "--verify=run")
    assert done.returncode == 1
    (line,) = [each for each in done.stderr.splitlines() if " ERROR " in each]
    assert "handler nvidia-cdi started nothing: " in line
    containerd.wait_ready()
    assert snapshot(containerd.config.parent) == before
    wait_for(lambda: left_by(containerd) == [], "nothing to be left")
    assert installer.run("--no-daemon").returncode == 0
    code, found = tried(installer)
    assert code == 1
    assert {name for name, (_, failure) in found.items() if failure} == {"nvidia-cdi"}
    wait_for(lambda: left_by(containerd) == [], "nothing to be left")


@one_release
def test_a_runtime_that_hangs_is_given_up_at_the_deadline(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.process.sample_driver = True
    containerd.start()
    containerd.import_image()
    runtime = installer.source / "usr/bin/nvidia-container-runtime"
    works = runtime.read_text()
    hangs = installer.directory / "hangs"
    head, _, rest = works.partition("\n")
    runtime.write_text(
        f'{head}\ncase " $* " in *" create "*) [ -e {hangs} ] && sleep 30 ;; esac\n{rest}'
    )
    assert installer.run("--no-daemon").returncode == 0
    hangs.touch()
    installer.variables = {**installer.variables, "TOOLKIT_VERIFY_TIMEOUT": "2"}
    code, found = tried(installer, "--set-as-default=false")
    assert code == 1
    assert "Deadline" in found["nvidia"][1]
    hangs.unlink()
    installer.variables = {**installer.variables, "TOOLKIT_VERIFY_TIMEOUT": "20"}
    wait_for(lambda: tried(installer)[0] == 0, "the handlers to work again")
    wait_for(lambda: left_by(containerd) == [], "nothing to be left")


@one_release
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=str)
def test_a_run_that_is_interrupted_leaves_nothing_at_the_latest_after_the_next(
    containerd: RealContainerd, installer: Installer, number: signal.Signals
) -> None:
    containerd.process.sample_driver = True
    containerd.start()
    containerd.import_image()
    runtime = installer.source / "usr/bin/nvidia-container-runtime"
    begun = installer.directory / "begun"
    head, _, rest = runtime.read_text().partition("\n")
    runtime.write_text(
        f'{head}\ncase " $* " in *" start "*) [ -e {begun} ] || {{ : >{begun}; sleep 1; }} ;; esac'
        f"\n{rest}"
    )
    assert installer.run("--no-daemon").returncode == 0
    running = subprocess.Popen(
        [*installer.program, "verify", "--run"],
        env=installer.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(begun.exists, "a sandbox to be on its way")
    running.send_signal(number)
    _, errors = running.communicate(timeout=30)
    if number is signal.SIGKILL:
        assert running.returncode == -signal.SIGKILL
    else:
        assert running.returncode == 1
        assert f"interrupted by {number.name}" in errors
        # The engine ends a call that was cancelled by itself, a moment later.
        wait_for(lambda: left_by(containerd) == [], "the cancelled sandbox to go")
    assert tried(installer)[0] == 0
    wait_for(lambda: left_by(containerd) == [], "nothing to be left")


@one_release
def test_what_a_handler_starts_comes_from_the_engine_and_not_from_its_config(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    containerd.import_image()
    assert installer.run("--no-daemon").returncode == 0
    code, found = tried(installer, "--runtime-name=other")
    assert code == 1
    assert set(found) == {"nvidia-cdi", "nvidia-legacy"}, "what is not served is not tried"


@one_release
def test_a_daemon_that_has_to_see_a_run_repairs_and_is_ready_again(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    containerd.import_image()
    installer.start("--verify=run")
    wait_idle(installer)
    containerd.process.kill(signal.SIGKILL)
    wait_said(installer, "each handler started something", 2)
    wait_idle(installer)
    wait_for(lambda: left_by(containerd) == [], "nothing to be left")
    assert installer.stop() == 0, installer.log()


def docker_installer(dockerd: RealDockerd) -> Installer:
    return Installer(dockerd.directory, dockerd.variables)


def test_with_docker_a_container_of_an_image_that_is_there_is_started(
    dockerd: RealDockerd,
) -> None:
    installer = docker_installer(dockerd)
    dockerd.process.sample_driver = True
    dockerd.start()
    done = installer.run("--no-daemon", "--verify=run")
    assert done.returncode == 0, done.stderr
    assert "no image" in done.stderr
    code, found = tried(installer)
    assert (code, set(found.values())) == (0, {(None, "")})
    assert "not tried: nvidia: " in installer.run("verify", "--run").stdout
    image = dockerd.import_image()
    assert image
    binaries = installer.binaries()
    code, found = tried(installer)
    assert (code, found) == (
        0,
        {
            **{name: (str(path), "") for name, path in binaries.items()},
            "": (str(binaries["nvidia"]), ""),
        },
    )
    assert dockerd.docker("ps", "--all", "--quiet") == ""
    runtime = installer.install_dir / "toolkit/nvidia-container-runtime.legacy.real"
    runtime.write_text("#!/bin/sh\nexit 1\n")
    code, found = tried(installer)
    assert code == 1
    assert found["nvidia-legacy"][1]
    assert dockerd.docker("ps", "--all", "--quiet") == ""
