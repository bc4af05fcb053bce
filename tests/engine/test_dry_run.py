"""A setup is refused before a byte where its reload would cost the node its engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.containerd import RELEASES, RealContainerd
from testbed.program import Installer, snapshot
from tests.engine.resident import installer_of, wait_idle, wait_said

pytestmark = pytest.mark.engine

CRI = '[plugins."io.containerd.grpc.v1.cri"'
DANGLING = f"""version = 2
imports = ["/nonexistent/parts.toml"]
{CRI}]
  sandbox_image = "acme.example/pause:3.9"  # mirrored
  {CRI}.containerd]
    default_runtime_name = "runc"
    {CRI}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      {CRI}.containerd.runtimes.runc.options]
        SystemdCgroup = true
"""
MIRRORS = f"""version = 2
{CRI}.registry]
  config_path = "/etc/containerd/certs.d"
  {CRI}.registry.mirrors."docker.io"]
    endpoint = ["https://mirror.example"]
"""
OLD_SHIM_ONLY = f"""version = 2
{CRI}]
  systemd_cgroup = true
"""
NO_SUCH_DEFAULT = f"""version = 2
{CRI}.containerd]
  default_runtime_name = "kata"
"""
ALL_DEVICES = f"""version = 2
{CRI}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
privileged_without_host_devices_all_devices_allowed = true
"""
SINCE_1_7 = [each for each in RELEASES if each.series != "1.6"]


@pytest.fixture
def installer(containerd: RealContainerd) -> Iterator[Installer]:
    containerd.start()
    program = installer_of(containerd)
    yield program
    program.end()


def refused_before_a_byte(containerd: RealContainerd, installer: Installer, *words: str) -> None:
    """Let a setup, plan and doctor refuse, with these words, and see that nothing happened."""
    engine, kept = containerd.process.pid, (containerd.directory / "logs",)
    watched = (containerd.config.parent, installer.install_dir)
    before = snapshot(*watched, besides=kept)
    planned = installer.run("plan")
    examined = installer.run("doctor")
    assert snapshot(*watched, besides=kept) == before
    made = installer.run("--no-daemon")
    assert (made.returncode, planned.returncode, examined.returncode) == (1, 1, 1), made.stderr
    for word in words:
        assert word in made.stderr
        assert word in planned.stderr
        assert word in examined.stdout
    assert snapshot(*watched, besides=kept) == before
    assert containerd.process.pid == engine
    assert containerd.cri.ready()


def test_a_missing_import_is_named_with_its_line(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.config.write_text(DANGLING)
    line = f"{containerd.config}:2: it imports /nonexistent/parts.toml, which is not there"
    refused_before_a_byte(containerd, installer, line)


def test_a_missing_import_of_an_imported_file_is_named_with_its_line(
    containerd: RealContainerd, installer: Installer
) -> None:
    parts = containerd.config.parent / "parts.toml"
    parts.write_text('# two parts\nversion = 2\nimports = [\n  "/nonexistent/more.toml",\n]\n')
    containerd.config.write_text(f'version = 2\nimports = ["{parts}"]\n')
    line = f"{parts}:4: it imports /nonexistent/more.toml, which is not there"
    refused_before_a_byte(containerd, installer, line)


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (MIRRORS, 4, "`mirrors` cannot be set when `config_path` is provided"),
        (NO_SUCH_DEFAULT, 3, "no corresponding runtime configured"),
    ],
    ids=["mirrors", "default"],
)
def test_what_the_cri_plugin_refuses_is_named_with_its_line(
    containerd: RealContainerd, content: str, line: int, reason: str
) -> None:
    containerd.start()
    containerd.config.write_text(content)
    refused_before_a_byte(
        containerd,
        installer_of(containerd, NVIDIA_RUNTIME_SET_AS_DEFAULT="false"),
        "refuses this file as it is without us",
        reason,
        f"{containerd.config}:{line}",
    )


@pytest.mark.parametrize(
    "containerd_release",
    [each for each in RELEASES if each.series == "1.7"],
    ids=lambda each: each.series,
)
@pytest.mark.parametrize(
    ("content", "line"), [(OLD_SHIM_ONLY, 3), (ALL_DEVICES, 4)], ids=["old-shim", "all-devices"]
)
def test_what_1_7_alone_refuses_is_named_with_its_line(
    containerd: RealContainerd, installer: Installer, content: str, line: int
) -> None:
    containerd.config.write_text(content)
    refused_before_a_byte(containerd, installer, f"{containerd.config}:{line}")


@pytest.mark.parametrize("containerd_release", SINCE_1_7, ids=lambda each: each.series)
def test_an_edit_saved_while_idle_is_named_and_left_alone_at_the_end(
    containerd: RealContainerd, installer: Installer
) -> None:
    installer.start()
    wait_idle(installer)
    engine = containerd.process.pid
    edited = containerd.config.read_text() + MIRRORS.removeprefix("version = 2\n")
    containerd.config.write_text(edited)
    wait_said(installer, "`mirrors` cannot be set")
    assert containerd.process.pid == engine
    assert installer.stop() == 3, installer.log()
    said = installer.log().splitlines()[-1]
    assert "`mirrors` cannot be set when `config_path` is provided" in said
    number = (
        containerd.config.read_text()
        .splitlines()
        .index('  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]')
    )
    assert f"{containerd.config}:{number + 1}" in said
    assert str(installer.install_dir) not in containerd.config.read_text()
    assert containerd.process.pid == engine
    assert containerd.cri.ready()


def test_the_running_engine_keeps_its_sockets_and_directories(
    containerd: RealContainerd, installer: Installer, tmp_path: Path
) -> None:
    debug, nri = containerd.directory / "debug.sock", containerd.directory / "nri.sock"
    opt = tmp_path / "opt"
    containerd.stop()
    version = {"1.6": 2, "1.7": 2}.get(containerd.release.series, 3)
    containerd.config.write_text(
        f'version = {version}\n[debug]\naddress = "{debug}"\n'
        f'[plugins."io.containerd.nri.v1.nri"]\ndisable = false\nsocket_path = "{nri}"\n'
        f'[plugins."io.containerd.internal.v1.opt"]\npath = "{opt}"\n'
    )
    containerd.start()
    sockets = [each for each in containerd.directory.glob("*.sock*") if each.is_socket()]
    inodes = {each: each.stat().st_ino for each in sockets}
    assert debug in inodes
    before = snapshot(opt)
    planned = installer.run("plan")
    assert planned.returncode == 0, planned.stderr
    assert {each: each.stat().st_ino for each in sockets} == inodes
    assert snapshot(opt) == before
    assert installer.run("--no-daemon").returncode == 0


def test_a_pending_edit_is_named_with_both_values_and_no_secret(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.config.write_text(
        f"version = 2\n{CRI}]\nenable_selinux = true\n"
        f'{CRI}.containerd.runtimes.runc]\nruntime_type = "io.containerd.runc.v2"\n'
        f'{CRI}.containerd.runtimes.kata]\nruntime_type = "io.containerd.kata.v2"\n'
        f'{CRI}.registry.configs."r.example".auth]\npassword = "hunter2"\n'
    )
    planned, examined = installer.run("plan"), installer.run("doctor")
    assert (planned.returncode, examined.returncode) == (0, 0), planned.stderr + examined.stdout
    selinux = "enable_selinux: false is in force, the files say true"
    kata = 'containerd.runtimes.kata.runtime_type: nothing is in force, the files say "io.'
    made = installer.run("--no-daemon")
    assert made.returncode == 0, made.stderr
    for line in (selinux, kata):
        assert f"# pending edit: {line}" in planned.stdout
        assert f"pending edit: {line}" in examined.stdout
        assert line in made.stderr
    for said in (planned.stdout, examined.stdout, made.stdout, made.stderr):
        assert "hunter2" not in said
    assert "pending edit" not in installer.run("plan").stdout
    assert "pending edit" not in installer.run("doctor").stdout


def test_a_node_without_an_edit_has_no_pending_edit_before_and_after_a_setup(
    installer: Installer,
) -> None:
    assert json.loads(installer.run("plan", "--output=json").stdout)["pending"] == []
    assert installer.run("--no-daemon").returncode == 0
    assert json.loads(installer.run("plan", "--output=json").stdout)["pending"] == []
    assert installer.run("revert").returncode == 0
    assert json.loads(installer.run("plan", "--output=json").stdout)["pending"] == []


@pytest.mark.parametrize("containerd_release", RELEASES[-1:], ids=lambda each: each.series)
def test_a_named_config_counts_only_where_the_engine_reads_it(
    containerd: RealContainerd, installer: Installer
) -> None:
    other = containerd.config.parent / "other.toml"
    other.write_text("version = 2\n")
    program = installer_of(containerd, CONTAINERD_CONFIG=str(other))
    refused_before_a_byte(
        containerd,
        program,
        f"CONTAINERD_CONFIG names {other}, but the running engine reads {containerd.config}",
        f"set CONTAINERD_CONFIG to {containerd.config}",
    )
    containerd.config.write_text(f'version = 2\nimports = ["{other}"]\n')
    made = program.run("--no-daemon")
    assert made.returncode == 0, made.stderr
    assert "which imports it" in made.stderr
    assert program.run("verify").returncode == 0
    assert program.run("revert").returncode == 0
    assert other.read_text() == "version = 2\n"
    assert containerd.config.read_text() == f'version = 2\nimports = ["{other}"]\n'
    assert installer.run("verify").returncode == 1


WITHOUT_NAMESPACES = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")


@pytest.mark.parametrize("containerd_release", SINCE_1_7, ids=lambda each: each.series)
def test_the_engines_rules_judge_where_it_cannot_be_started_aside(
    containerd: RealContainerd, installer: Installer
) -> None:
    installer.prefix = WITHOUT_NAMESPACES
    before = containerd.config.read_text()
    containerd.config.write_text(MIRRORS)
    refused_before_a_byte(
        containerd,
        installer,
        "refuses this file as it is without us: "
        f"{containerd.config}:4: registry.mirrors cannot be set beside registry.config_path",
    )
    containerd.config.write_text(before)
    made = installer.run("--no-daemon")
    assert made.returncode == 0, made.stderr
    assert "unshare" in made.stderr
    assert installer.run("verify").returncode == 0
    assert installer.run("revert").returncode == 0
    assert containerd.config.read_text() == before
