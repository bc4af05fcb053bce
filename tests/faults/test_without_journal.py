"""A setup whose journal somebody removed, and what NVIDIA's installer left in a kill."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from runtime_configs.model import Version
from testbed.containerd import RELEASES, ContainerdRelease, real_containerd
from tests.fakes.faulty_syscalls import CrashPoint
from tests.faults.node_host import CONFIG, DROP_IN, FaultHost, difference, journal_holds_ours
from tests.faults.steps import Steps, points
from tests.faults.test_transaction_engines import CONFIG as CONFIG_BYTES
from tests.faults.test_transaction_engines import installer_for
from tests.faults.test_transaction_steps import ADMIN, V1, V2
from toolkit.errors import ToolkitError
from toolkit.report.preview import preview

EACH = pytest.mark.parametrize("version", [V1, V2], ids=["in place", "drop-in"])
OURS = b"/usr/local/nvidia/toolkit"
NVIDIAS = b"""version = 3
[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "nvidia"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.nvidia]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.nvidia.options]
BinaryName = "/usr/local/nvidia/toolkit/nvidia-container-runtime"
"""


def without_journal(directory: Path, version: Version, config: bytes = ADMIN) -> FaultHost:
    host = FaultHost(directory, version=version, config=config)
    host.set_up()
    shutil.rmtree(host.install_dir / ".toolkit-journal")
    return host


def assert_without_us(host: FaultHost) -> None:
    for path in (CONFIG, DROP_IN):
        assert OURS not in (host.read(path) or b"")
    assert b"# by hand" in (host.read(CONFIG) or b"")
    assert b"crun" in (host.read(CONFIG) or b"")
    assert host.read(DROP_IN) is None
    assert host.engine.up_to_date()
    host.engine.loadable()
    assert host.engine.effective is not None
    assert not set(host.engine.effective.handlers) & {"nvidia", "nvidia-cdi", "nvidia-legacy"}
    assert not (host.install_dir / "toolkit").exists()
    assert not (host.install_dir / ".toolkit-journal").exists()


@EACH
def test_a_revert_finds_it_and_takes_it_back(tmp_path: Path, version: Version) -> None:
    host = without_journal(tmp_path, version)
    report = host.revert()
    assert report is not None
    assert report.payload == "removed"
    assert_without_us(host)
    assert host.revert() is None


@EACH
def test_a_start_finds_it_and_goes_on_with_nothing_of_ours_in_the_way_back(
    tmp_path: Path, version: Version
) -> None:
    host = without_journal(tmp_path, version)
    before = (host.read(CONFIG), host.read(DROP_IN))
    outcome = host.set_up()
    assert outcome.record.previous_default != "nvidia"
    assert (host.read(CONFIG), host.read(DROP_IN)) == before
    assert journal_holds_ours(host) == []
    assert host.engine.up_to_date()
    assert host.engine.effective is not None
    assert host.engine.effective.default == "nvidia"
    host.revert()
    assert_without_us(host)


@EACH
def test_a_plan_tells_of_it_and_changes_nothing(tmp_path: Path, version: Version) -> None:
    host = without_journal(tmp_path, version)
    before = host.tree()
    found = preview(host.node())
    assert ["no journal names them" in each.reason for each in found.steps] == [True]
    assert found.plan.differing == ()
    assert difference(host.tree(), before) == []


@EACH
def test_a_kill_at_any_step_of_its_revert_is_settled_by_the_next_one(
    tmp_path: Path, version: Version
) -> None:
    host = without_journal(tmp_path, version)
    saved = host.save("before")
    counting = Steps()
    host.revert(counting)
    for at in points(len(counting.done), 12):
        saved.restore()
        with pytest.raises(CrashPoint):
            host.revert(Steps(at=at, watch=host.check_loadable))
        host.revert()
        assert_without_us(host)
        assert host.leftovers() == []


@pytest.mark.parametrize("payload", [True, False], ids=["with its payload", "without"])
def test_a_drop_in_that_nvidias_installer_left_above_its_roots_version_is_taken_over(
    tmp_path: Path, *, payload: bool
) -> None:
    host = FaultHost(tmp_path, version=V2, config=ADMIN)
    theirs = host.install_dir / "toolkit/nvidia-container-runtime"
    if payload:
        host.place(f"/{theirs.relative_to(host.root)}", b"theirs", 0o755)
    host.place(DROP_IN, NVIDIAS)
    host.set_up()
    assert (host.read(DROP_IN) or b"").count(b"version = 2") == 1
    assert host.engine.up_to_date()
    host.revert()
    assert host.read(DROP_IN) is None
    assert host.read(CONFIG) == ADMIN
    assert theirs.exists() is payload


def test_a_setup_of_another_installer_in_the_same_directory_is_not_ours(tmp_path: Path) -> None:
    host = FaultHost(tmp_path, version=V1, config=ADMIN)
    host.set_up()
    made = host.read(CONFIG) or b""
    host.revert()
    host.place("/usr/local/nvidia/toolkit/nvidia-container-runtime", b"theirs", 0o755)
    host.place(CONFIG, made)
    host.engine.boot()
    before = host.tree()
    assert host.revert() is None
    assert difference(host.tree(), before) == []
    host.set_up()
    host.revert()
    assert host.read(CONFIG) == made


def test_a_file_that_does_not_parse_is_named_by_the_setup_alone(tmp_path: Path) -> None:
    host = without_journal(tmp_path, V1)
    host.place(CONFIG, b"[oops")
    assert host.revert() is None
    with pytest.raises(ToolkitError, match="not valid"):
        host.set_up()


@pytest.mark.engine
@pytest.mark.skipif(os.geteuid() != 0, reason="real engines need root")
@pytest.mark.parametrize("release", RELEASES, ids=lambda each: each.series)
@pytest.mark.parametrize("then", ["revert", "start and revert"])
def test_a_real_engine_serves_none_of_ours_afterwards(
    release: ContainerdRelease, then: str
) -> None:
    with real_containerd(release) as engine:
        engine.config.write_bytes(CONFIG_BYTES)
        engine.start()
        served = engine.cri.served()
        installer = installer_for(engine, TOOLKIT_VERIFY_TIMEOUT="30", TOOLKIT_STOP_TIMEOUT="30")
        done = installer.run("--no-daemon")
        assert done.returncode == 0, done.stderr
        shutil.rmtree(installer.install_dir / ".toolkit-journal")
        if then != "revert":
            done = installer.run("--no-daemon")
            assert done.returncode == 0, done.stderr
            assert "no journal" in done.stderr
        done = installer.run("revert")
        assert done.returncode == 0, done.stderr
        engine.wait_ready()
        assert engine.cri.served() == served
        assert not (installer.install_dir / "toolkit").exists()
        drop_ins = engine.config.parent / "conf.d"
        assert not drop_ins.exists() or list(drop_ins.iterdir()) == []
        installer.end()
