"""The engine's own word counts, whatever its files and its dump command say."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from testbed.containerd import RELEASES, RealContainerd
from testbed.program import Installer
from testbed.supervised import wait_for
from tests.engine.resident import (
    events,
    installer_of,
    served,
    wait_idle,
    wait_said,
)

pytestmark = [
    pytest.mark.engine,
    pytest.mark.parametrize(
        "containerd_release",
        [each for each in RELEASES if each.series != "1.6"],  # knows no such refusal
        ids=lambda each: f"containerd-{each.series}",
    ),
]
REFUSED = """
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.broken]
runtime_type = "io.containerd.runc.v2"
privileged_without_host_devices_all_devices_allowed = true
"""
"""Loads and is dumped; its CRI plugin refuses to start with it."""
OF_FILES = "--config-source=file"


@pytest.fixture
def installer(containerd: RealContainerd) -> Iterator[Installer]:
    containerd.start()
    program = installer_of(containerd)
    yield program
    program.end()


def start_anew(containerd: RealContainerd, content: bytes) -> None:
    """Let the engine come back with another config, and put the present one back in its place."""
    ours = containerd.config.read_bytes()
    kill_and_hold(containerd)
    containerd.config.write_bytes(content)
    containerd.process.release()
    containerd.wait_ready()
    containerd.config.write_bytes(ours)


def kill_and_hold(containerd: RealContainerd) -> None:
    containerd.process.hold()
    containerd.process.kill(signal.SIGKILL)
    died = len([each for each in containerd.process.events() if each.event == "died"])
    wait_for(
        lambda: [each for each in containerd.process.events() if each.event == "died"][died - 1 :],
        "its end",
    )


def test_an_engine_whose_cri_plugin_failed_serves_nothing_though_its_dump_has_the_handlers(
    containerd: RealContainerd, installer: Installer
) -> None:
    assert installer.run("--no-daemon").returncode == 0
    containerd.config.write_text(containerd.config.read_text() + REFUSED)
    containerd.process.kill(signal.SIGKILL)
    wait_for(lambda: "could not load" in installer.run("verify").stdout, "CRI to have failed")
    verified = json.loads(installer.run("verify", "--output=json").stdout)
    assert (verified["served"], verified["ok"]) == ({}, False)
    (missing,) = verified["missing"]
    assert "could not load its CRI plugin" in missing
    assert "privileged_without_host_devices" in missing
    assert installer.run("verify").returncode == 1
    state = json.loads(installer.run("status", "--output=json").stdout)
    assert state["served"] == missing
    examined = installer.run("doctor")
    assert examined.returncode == 1
    assert f"problem  CRI: {missing}" in examined.stdout
    planned = installer.run("plan")
    assert planned.returncode == 1
    assert "privileged_without_host_devices" in planned.stderr
    number = len(containerd.config.read_text().splitlines())
    assert f"{containerd.config}:{number}; nothing was written" in planned.stderr.replace(")", "")


def test_files_that_hold_the_handlers_are_not_taken_for_an_engine_that_serves_them(
    containerd: RealContainerd, installer: Installer
) -> None:
    before = containerd.config.read_bytes()
    assert installer.run("--no-daemon", OF_FILES).returncode == 0
    start_anew(containerd, before)
    assert not served(containerd, installer)
    verified = installer.run("verify", OF_FILES)
    assert verified.returncode == 1
    assert "missing: handler nvidia is not served" in verified.stdout
    planned = json.loads(installer.run("plan", "--output=json", OF_FILES).stdout)
    assert planned["changes"] == []
    assert planned["reload"] == {
        "needed": True,
        "mode": "auto",
        "reason": "handler nvidia is not served",
    }
    assert installer.run("--no-daemon", OF_FILES).returncode == 0
    assert served(containerd, installer)
    assert installer.run("verify", OF_FILES).returncode == 0


def test_an_engine_that_came_back_without_the_handlers_is_told_of_the_files_that_have_them(
    containerd: RealContainerd, installer: Installer
) -> None:
    before = containerd.config.read_bytes()
    installer.start(OF_FILES)
    wait_idle(installer)
    assert installer.process is not None
    installer.process.send_signal(signal.SIGSTOP)
    start_anew(containerd, before)
    assert not served(containerd, installer)
    installer.process.send_signal(signal.SIGCONT)
    wait_said(installer, " repaired ")
    wait_idle(installer)
    assert served(containerd, installer)
    assert events(installer, " repaired ") == 1
    assert installer.stop() == 0, installer.log()
    containerd.wait_ready()
    assert containerd.config.read_bytes() == before
