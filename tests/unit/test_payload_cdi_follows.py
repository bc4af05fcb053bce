"""The management CDI spec after the start: made again, removed, and made again."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from testbed.payload_host import PayloadHost
from tests.cdi_host import ON, WaitingClock, host_without_driver, install, load_driver, spec_of
from tests.fakes.faulty_syscalls import CrashPoint
from tests.fakes.faulty_writer import FaultyWriter
from toolkit.host import followed
from toolkit.payload.cdi import SpecState

DRIVER = "run/nvidia/driver"


@pytest.fixture
def host(tmp_path: Path) -> PayloadHost:
    made = host_without_driver(tmp_path)
    load_driver(made)
    return made


def unload(host: PayloadHost) -> None:
    Path(host.root.proc, "driver/nvidia").rmdir()
    shutil.rmtree(host.tree / DRIVER / "dev")


def follow(host: PayloadHost, *flags: str) -> SpecState:
    cdi = host.installer(ON, *flags).cdi
    cdi.follow(WaitingClock())
    return cdi.state


def test_without_a_driver_the_spec_goes_and_with_one_it_is_back(host: PayloadHost) -> None:
    record = install(host, ON)
    before = spec_of(host).read_bytes()
    assert follow(host) == SpecState()
    unload(host)
    gone = follow(host)
    assert gone.changed
    assert "no driver is loaded" in gone.lack
    assert not spec_of(host).exists()
    assert follow(host) == SpecState(lack=gone.lack)
    load_driver(host)
    assert follow(host) == SpecState(changed=True)
    assert spec_of(host).read_bytes() == before
    host.installer(ON).remove(record)
    assert not (host.tree / "var").exists()


@pytest.mark.parametrize("loaded", [True, False])
def test_somebody_s_spec_from_before_comes_back_at_the_removal_alone(
    host: PayloadHost, *, loaded: bool
) -> None:
    spec = spec_of(host)
    spec.parent.mkdir(parents=True)
    spec.write_text("kind: of somebody else\n")
    record = install(host, ON)
    unload(host)
    follow(host)
    assert not spec.exists()
    if loaded:
        load_driver(host)
        follow(host)
    host.installer(ON).remove(record)
    assert spec.read_text() == "kind: of somebody else\n"


@pytest.mark.parametrize("loads", [True, False])
def test_a_spec_that_a_kill_stops_anywhere_is_made_right_by_the_next_look(
    host: PayloadHost, *, loads: bool
) -> None:
    spec = spec_of(host)
    spec.parent.mkdir(parents=True)
    spec.write_text("kind: of somebody else\n")
    record = install(host, ON)
    ours = spec.read_bytes()
    for at in range(12):
        load_driver(host)
        follow(host)
        assert spec.read_bytes() == ours
        unload(host)
        if loads:
            follow(host)
            load_driver(host)
        done = False
        with contextlib.suppress(CrashPoint):
            writer = FaultyWriter(real=host.writer(), at=at, fault=CrashPoint)
            host.installer(ON, writer=writer).cdi.follow(WaitingClock())
            done = True
        host.installer(ON).undo(record)
        follow(host)
        assert spec.exists() is loads
        if done:
            host.installer(ON).remove(record)
            assert spec.read_text() == "kind: of somebody else\n"
            return
        if not loads:
            load_driver(host)
    pytest.fail("the spec was never written")


def test_what_nvidia_ctk_cant_describe_leaves_the_spec_only_while_it_names_what_is_there(
    host: PayloadHost,
) -> None:
    install(host, ON)
    before = spec_of(host).read_bytes()
    libraries = host.tree / DRIVER / "usr/lib64"
    (libraries / "libnvidia-ml.so.1").symlink_to("libnvidia-ml.so.550")
    stays = follow(host)
    assert "failed to locate" in stays.failure
    assert (stays.changed, stays.lack) == (False, "")
    assert spec_of(host).read_bytes() == before
    (libraries / "libcuda.so.1").unlink()
    goes = follow(host)
    assert goes.changed
    assert goes.lack == goes.failure == stays.failure
    assert not spec_of(host).exists()


def test_nodes_that_a_driver_left_behind_are_no_driver(host: PayloadHost) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes device nodes")
    install(host, ON)
    unload(host)
    (host.tree / DRIVER / "dev").mkdir()
    os.mknod(host.tree / DRIVER / "dev/nvidiactl", 0o020666, os.makedev(195, 255))
    devices = Path(host.root.proc, "devices")
    devices.write_text("Character devices:\n  1 mem\n\nBlock devices:\n195 x\n")
    assert "no driver is loaded" in follow(host).lack
    devices.write_text("Character devices:\n  1 mem\n195 nvidia-frontend\n\nBlock devices:\n")
    assert follow(host).lack == ""


def test_what_the_spec_depends_on_is_as_it_was_before_the_spec_was_made(host: PayloadHost) -> None:
    install(host, ON)
    installer = host.installer(ON)
    assert {state for entry, state in installer.cdi.followed() if entry[0] != "="} == {"?"}
    installer.cdi.follow(WaitingClock())
    pairs = dict(installer.cdi.followed())
    assert pairs == {entry: followed.state_of(entry) for entry in pairs}
    named = {entry for entry in pairs if entry[0] == followed.NAMED}
    assert f"={host.tree}/{DRIVER}/usr/lib64/libcuda.so.1" in named
    assert f"={host.toolkit}/nvidia-cdi-hook" in named
    (host.tree / DRIVER / "usr/lib64/libnvidia-ml.so.1").touch()
    changed = [entry for entry, state in pairs.items() if followed.state_of(entry) != state]
    assert changed == [f"n{host.tree}/{DRIVER}/usr/lib64"]


def test_without_a_spec_nothing_is_followed(host: PayloadHost) -> None:
    install(host)
    assert host.installer().cdi.followed() == ()
