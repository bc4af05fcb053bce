"""The installer as a service of the node itself, by the unit that the project ships."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.nspawn import Node, booted_node
from testbed.packages import REPOSITORY
from testbed.sample_payload import make_sample_payload
from testbed.supervised import wait_for

pytestmark = pytest.mark.node

PROGRAM = """\
#!/bin/sh
export PYTHONPATH=/opt/nvidia-toolkit/lib LD_LIBRARY_PATH=/opt/nvidia-toolkit/libraries
exec {python} -m toolkit "$@"
"""
DEPENDENCIES = ("click", "google", "grpc", "msgspec", "psutil")


@pytest.fixture
def node() -> Iterator[Node]:
    with booted_node() as booted:
        yield booted


def install(node: Node) -> None:
    """Put the program where `pip install` into /opt/nvidia-toolkit does, and its unit."""
    home = node.root / "opt/nvidia-toolkit"
    packages = Path(sysconfig.get_path("platlib"))
    for name in ("toolkit", "runtime_configs"):
        shutil.copytree(REPOSITORY / name, home / "lib" / name)
    for name in DEPENDENCIES:
        shutil.copytree(packages / name, home / "lib" / name, symlinks=True)
    for module in packages.glob("typing_extensions*"):
        if module.is_file():
            shutil.copy2(module, home / "lib")
    (home / "bin").mkdir()
    python = install_python(node, home / "libraries")
    (home / "bin/nvidia-toolkit").write_text(PROGRAM.format(python=python))
    (home / "bin/nvidia-toolkit").chmod(0o755)
    make_sample_payload(node.root / "artifacts/deb")
    shutil.copy2(
        REPOSITORY / "deploy/systemd/nvidia-toolkit.service", node.root / "etc/systemd/system"
    )
    (node.root / "etc/default/nvidia-toolkit").write_text(
        "RUNTIME=containerd\nTOOLKIT_PACKAGE_TYPE=deb\n"
    )
    node.run("systemctl", "daemon-reload")


def install_python(node: Node, libraries: Path) -> Path:
    """Give the node the interpreter of the tests, which its tree lacks, at the same place."""
    python = Path(sys.executable).resolve()
    standard = Path(sysconfig.get_path("stdlib"))
    for path in (python, standard):
        target = node.root / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            unused = shutil.ignore_patterns("site-packages", "dist-packages", "test", "__pycache__")
            shutil.copytree(path, target, ignore=unused, dirs_exist_ok=True)
        else:
            shutil.copy2(path, target)
    libraries.mkdir()
    modules = (python, *(standard / "lib-dynload").glob("*.so"))
    linked = subprocess.run(
        ("/usr/bin/ldd", *modules), check=True, capture_output=True, text=True
    ).stdout
    for path in set(re.findall(r"=> (/\S+)", linked)):
        if not (node.root / path.lstrip("/")).exists():
            shutil.copy2(path, libraries)
    return python


def test_the_unit_sets_the_node_up_and_a_stop_restores_it(node: Node) -> None:
    install(node)
    assert node.run("systemd-analyze", "verify", "--man=no", "nvidia-toolkit.service") == ""
    config = node.root / "etc/containerd/config.toml"
    before = config.read_bytes()
    node.run("systemctl", "enable", "--now", "nvidia-toolkit")
    # The node's /run is a file system of its own.
    ready = Path(f"/proc/{node.init}/root/run/nvidia/toolkit/toolkit-ready")
    wait_for(ready.exists, "the ready file", timeout=60.0)
    assert b"nvidia-container-runtime" in config.read_bytes()
    assert "nvidia-container-runtime" in node.run(
        "/opt/nvidia-toolkit/bin/nvidia-toolkit", "verify"
    )
    log = node.run("journalctl", "--unit=nvidia-toolkit", "--output=cat", "--no-pager")
    first = next(line for line in log.splitlines() if " INFO " in line)
    assert "containerd 1.6" in first
    node.run("systemctl", "stop", "nvidia-toolkit")
    assert config.read_bytes() == before
    assert not (node.root / "usr/local/nvidia/toolkit").exists()
    assert node.run("systemctl", "is-active", "containerd").strip() == "active"
