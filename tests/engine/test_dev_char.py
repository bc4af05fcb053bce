"""The program keeps the links in /dev/char of a node that has no engine to set up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.payload_host import PayloadHost
from testbed.program import Installer
from testbed.supervised import private_directory, wait_for

pytestmark = pytest.mark.engine


@pytest.fixture
def host(_root: None) -> Iterator[PayloadHost]:
    with private_directory("devchar-") as base:
        made = PayloadHost(base)
        (made.tree / "dev").mkdir()
        node(made, "nvidia0", 0)
        yield made


def node(host: PayloadHost, name: str, minor: int) -> None:
    os.mknod(host.tree / "dev" / name, 0o020666, os.makedev(195, minor))


def links(directory: Path) -> dict[str, str]:
    return {each.name: os.readlink(each) for each in directory.glob("*")}


def test_links_follow_the_nodes_and_go_with_the_toolkit_s_files(host: PayloadHost) -> None:
    tree = host.tree
    installer = Installer(
        host.base,
        {
            "ROOT": str(tree / "usr/local/nvidia"),
            "TOOLKIT_PID_FILE": str(tree / "run/nvidia/toolkit.pid"),
            "TOOLKIT_READY_FILE": str(tree / "run/nvidia/toolkit-ready"),
            "HOST_ROOT_MOUNT": str(tree),
            "NO_RUNTIME_CONFIG": "true",
            "CREATE_DEV_CHAR_SYMLINKS": "true",
            "NVIDIA_DEV_ROOT": "/",
            "DEV_ROOT_CTR_PATH": "/",
        },
    )
    ready = tree / "run/nvidia/toolkit-ready"
    directory = tree / "dev/char"
    try:
        installer.start()
        wait_for(ready.exists, "the setup")
        assert links(directory) == {"195:0": "/dev/nvidia0"}
        node(host, "nvidia1", 1)
        both = {"195:0": "/dev/nvidia0", "195:1": "/dev/nvidia1"}
        wait_for(lambda: links(directory) == both and ready.exists(), "the second link")
        (tree / "dev/nvidia0").unlink()
        one = {"195:1": "/dev/nvidia1"}
        wait_for(lambda: links(directory) == one and ready.exists(), "the first link to go")
        assert installer.stop() == 0, installer.log()
        assert links(directory) == one, "no engine says that no container needs them"
        assert installer.run("revert", "--purge").returncode == 0
        assert not directory.exists()
    finally:
        installer.end()
