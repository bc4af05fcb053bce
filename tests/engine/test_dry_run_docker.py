"""A dockerd whose own file is at fault is not touched, and the fault is named with its line."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from testbed.dockerd import RealDockerd
from testbed.program import Installer, snapshot

pytestmark = pytest.mark.engine

RESERVED = '{"default-runtime": "runc", "runtimes": {"runc": {"path": "runc"}}}\n'
WITHOUT_US = "refuses this file as it is without us"
CHECKED = {
    "both": {"runtimes": {"x": {"path": "/bin/x", "runtimeType": "io.containerd.runc.v2"}}},
    "neither": {"runtimes": {"x": {}}},
    "options of a path": {"runtimes": {"x": {"path": "/bin/x", "options": {"a": 1}}}},
    "no such default": {"default-runtime": "kata", "runtimes": {}},
}


@pytest.fixture
def installer(dockerd: RealDockerd) -> Iterator[Installer]:
    dockerd.config.write_text("{}\n")
    dockerd.start()
    program = Installer(dockerd.directory, dockerd.variables)
    yield program
    program.end()


def refused(dockerd: RealDockerd, installer: Installer, *options: str) -> str:
    """Let a setup, plan and doctor refuse; return the setup's message."""
    watched = (dockerd.config.parent, installer.install_dir)
    before, pid, reloads = snapshot(*watched), dockerd.process.pid, dockerd.reloads()
    planned, examined = installer.run("plan", *options), installer.run("doctor", *options)
    made = installer.run("--no-daemon", *options)
    assert (made.returncode, planned.returncode, examined.returncode) == (1, 1, 1), made.stderr
    assert snapshot(*watched) == before
    assert (dockerd.process.pid, dockerd.reloads()) == (pid, reloads)
    message = next(line for line in made.stderr.splitlines() if " ERROR " in line).split("ERROR")[1]
    assert message.strip() in planned.stderr
    return message


def test_a_reserved_name_saved_later_leaves_the_journal_clear(
    dockerd: RealDockerd, installer: Installer
) -> None:
    dockerd.config.write_text(RESERVED)
    message = refused(dockerd, installer)
    assert WITHOUT_US in message
    assert f'{dockerd.config}:1: dockerd keeps the runtime name "runc" for its own' in message
    reverted = installer.run("revert")
    assert (reverted.returncode, reverted.stdout) == (
        0,
        "nothing to revert: no setup of ours is on this host\n",
    )
    dockerd.config.write_text("{}\n")
    assert installer.run("--no-daemon").returncode == 0


@pytest.mark.parametrize("name", CHECKED)
def test_an_entry_that_dockerd_refuses_at_its_start_is_named(
    dockerd: RealDockerd, installer: Installer, name: str
) -> None:
    dockerd.config.write_text(json.dumps(CHECKED[name], indent=1) + "\n")
    if dockerd.release.series.startswith("20.") and name != "no such default":
        made = installer.run("--no-daemon", "--set-as-default=false")
        assert made.returncode == 0, made.stderr  # 20.10 takes such an entry
        return
    message = refused(dockerd, installer, "--set-as-default=false")
    assert f"{dockerd.config}:{2 if 'default' in name else 3}" in message


def test_a_reserved_name_saved_while_idle_ends_with_the_line_to_fix(
    dockerd: RealDockerd, installer: Installer
) -> None:
    assert installer.run("--no-daemon").returncode == 0
    pid = dockerd.process.pid
    document = json.loads(dockerd.config.read_text())
    document["runtimes"]["runc"] = {"path": "runc"}
    dockerd.config.write_text(json.dumps(document, indent=2) + "\n")
    reverted = installer.run("revert")
    assert reverted.returncode == 3, reverted.stderr
    assert 'dockerd keeps the runtime name "runc"' in reverted.stderr
    assert f"{dockerd.config}:" in reverted.stderr
    assert dockerd.process.pid == pid
    assert str(installer.install_dir) not in dockerd.config.read_text()
    dockerd.config.write_text("{}\n")
    again = installer.run("revert")
    assert again.returncode == 0, again.stderr


def test_a_pending_edit_of_daemon_json_is_named(dockerd: RealDockerd, installer: Installer) -> None:
    assert json.loads(installer.run("plan", "--output=json").stdout)["pending"] == []
    low_level = str(dockerd.directory / "bin/runc")
    edit = {"runtimes": {"crun": {"path": low_level}}, "labels": ["rack=1"]}
    dockerd.config.write_text(json.dumps(edit))
    lines = (
        f'runtimes.crun.path: nothing is in force, the files say "{low_level}"',
        'labels: [] is in force, the files say ["rack=1"]',
    )
    planned, examined = installer.run("plan"), installer.run("doctor")
    made = installer.run("--no-daemon")
    assert (planned.returncode, examined.returncode, made.returncode) == (0, 0, 0), made.stderr
    for line in lines:
        assert f"# pending edit: {line}" in planned.stdout
        assert f"pending edit: {line}" in examined.stdout
        assert line in made.stderr
    assert json.loads(installer.run("plan", "--output=json").stdout)["pending"] == []
    assert installer.run("revert").returncode == 0
    assert dockerd.config.read_text() == json.dumps(edit)
