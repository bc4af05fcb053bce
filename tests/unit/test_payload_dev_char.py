"""Links in /dev/char: made for the driver's nodes, followed, and removed where they are ours."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from testbed.payload_host import PayloadHost
from tests.cdi_host import WaitingClock, begun, host_without_driver, install
from tests.fakes.faulty_syscalls import CrashPoint
from tests.fakes.faulty_writer import FaultyWriter

LINKS = ("--create-dev-char-symlinks", "--dev-root=/")
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")


@pytest.fixture
def host(tmp_path: Path) -> PayloadHost:
    made = host_without_driver(tmp_path)
    (made.tree / "dev/nvidia-caps").mkdir(parents=True)
    node(made, "nvidiactl", 195, 255)
    node(made, "nvidia0", 195, 0)
    node(made, "nvidia-caps/nvidia-cap1", 239, 1)
    node(made, "null", 1, 3)
    return made


def node(host: PayloadHost, name: str, major: int, minor: int) -> None:
    path = host.tree / "dev" / name
    path.unlink(missing_ok=True)
    os.mknod(path, 0o020666, os.makedev(major, minor))


def links(host: PayloadHost) -> dict[str, str]:
    directory = host.tree / "dev/char"
    return {each.name: os.readlink(each) for each in directory.glob("*") if each.is_symlink()}


def follow(host: PayloadHost, *flags: str) -> None:
    host.installer(*(flags or LINKS)).cdi.follow(WaitingClock())


ALL = {
    "195:255": "/dev/nvidiactl",
    "195:0": "/dev/nvidia0",
    "239:1": "/dev/nvidia-caps/nvidia-cap1",
}


def test_each_node_of_the_driver_has_a_link_and_the_removal_takes_all(host: PayloadHost) -> None:
    record = install(host, *LINKS)
    assert links(host) == ALL
    host.installer(*LINKS).remove(record)
    assert not (host.tree / "dev/char").exists()


def test_without_the_option_nothing_is_made(host: PayloadHost) -> None:
    install(host)
    assert not (host.tree / "dev/char").exists()
    assert host.installer().cdi.followed() == ()


def test_links_follow_the_nodes(host: PayloadHost) -> None:
    install(host, *LINKS)
    node(host, "nvidia0", 511, 0)
    node(host, "nvidia1", 511, 1)
    (host.tree / "dev/nvidia-caps/nvidia-cap1").unlink()
    installer = host.installer(*LINKS)
    assert f"n{host.tree}/dev" in dict(installer.cdi.followed())
    follow(host)
    assert links(host) == {
        "195:255": "/dev/nvidiactl",
        "511:0": "/dev/nvidia0",
        "511:1": "/dev/nvidia1",
    }


def test_a_link_that_is_there_already_or_was_changed_since_is_nobody_s_but_its_owner_s(
    host: PayloadHost,
) -> None:
    theirs = host.tree / "dev/char/195:0"
    theirs.parent.mkdir()
    theirs.symlink_to("../nvidia0")
    record = install(host, *LINKS)
    changed = host.tree / "dev/char/195:255"
    changed.unlink()
    changed.symlink_to("../nvidiactl")
    node(host, "nvidia0", 511, 0)
    follow(host)
    host.installer(*LINKS).remove(record)
    assert links(host) == {"195:0": "../nvidia0", "195:255": "../nvidiactl"}


def test_nodes_of_a_driver_root_count_where_dev_has_none(host: PayloadHost) -> None:
    other = host.tree / "run/nvidia/driver/dev"
    other.mkdir(parents=True)
    os.mknod(other / "nvidia0", 0o020666, os.makedev(195, 0))
    os.mknod(other / "nvidia7", 0o020666, os.makedev(195, 7))
    install(host, "--create-dev-char-symlinks")
    assert links(host) == ALL | {"195:7": "/run/nvidia/driver/dev/nvidia7"}


def test_links_that_are_not_wanted_any_more_go(host: PayloadHost) -> None:
    install(host, *LINKS)
    install(host)
    assert links(host) == {}


def test_a_setup_that_is_undone_leaves_the_links_of_the_one_before(host: PayloadHost) -> None:
    record = begun(host, *LINKS)
    host.installer(*LINKS).undo(record)
    assert links(host) == {}
    install(host, *LINKS)
    node(host, "nvidia1", 195, 1)
    record = begun(host, *LINKS)
    assert "195:1" in links(host)
    host.installer(*LINKS).undo(record)
    assert links(host) == ALL


def test_a_kill_anywhere_leaves_no_link_that_is_not_known_as_ours(host: PayloadHost) -> None:
    for at in range(20):
        record = install(host)
        done = False
        with contextlib.suppress(CrashPoint):
            writer = FaultyWriter(real=host.writer(), at=at, fault=CrashPoint)
            host.installer(*LINKS, writer=writer).cdi.follow(WaitingClock())
            done = True
        host.installer(*LINKS).undo(record)
        host.installer(*LINKS).remove(record)
        assert links(host) == {}
        if done:
            return
    pytest.fail("the links were never made")
