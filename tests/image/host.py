"""A node whose dockerd builds the image and runs it: systemd, containerd 1.6 and a dockerd."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from testbed.dockerd import DockerRelease
from testbed.nspawn import Node, booted_node
from testbed.packages import REPOSITORY
from testbed.sample_payload import RELEASED, make_sample_payload
from testbed.supervised import wait_for

BASE = "toolkit.test/base:1"
IMAGE = "nvidia-toolkit-installer"
RELEASE = DockerRelease(suite="trixie", series="26")
"""The oldest that runs a privileged container on a machine with fewer than all capabilities."""

UNIT = """\
[Service]
Type=notify
ExecStart=/usr/sbin/dockerd --containerd=/run/containerd/containerd.sock \\
    --bridge=none --iptables=false --ip6tables=false --userland-proxy=false
ExecReload=/bin/kill -s HUP $MAINPID
Restart=always
"""
CONTEXT = ("toolkit", "runtime_configs", "share", "deploy/image", "Dockerfile", ".dockerignore")
CONTEXT_FILES = ("requirements.lock", "entrypoint.sh", "LICENSE")


class DockerHost:
    """The node with its dockerd, at the paths that every Docker host has."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.config = node.root / "etc/docker/daemon.json"

    def start(self) -> None:
        """Put Docker on the node and start it under its unit."""
        for name in ("usr/bin/docker", "usr/sbin/dockerd"):
            shutil.copy2(RELEASE.directory / name, self.node.root / name)
        (self.node.root / "etc/systemd/system/docker.service").write_text(UNIT)
        self.node.run("systemctl", "daemon-reload")
        self.node.run("systemctl", "start", "docker")
        wait_for(self._answers, "dockerd to answer")

    def restart(self) -> None:
        """Restart dockerd: it takes a while to see that its containerd has been replaced."""
        self.node.run("systemctl", "reset-failed", "containerd", "docker")
        self.node.run("systemctl", "restart", "docker")
        wait_for(self._answers, "dockerd to answer")

    def docker(self, *arguments: str) -> str:
        """Run Docker's client on the node and return what it prints on stdout."""
        return self.node.run("docker", *arguments)

    def sh(self, line: str) -> str:
        """Run a line of shell on the node, as typed, and return what it prints on stdout."""
        return self.node.run("sh", "-c", line)

    def info(self) -> dict[str, Any]:
        """Return what ``GET /info`` says."""
        document: dict[str, Any] = json.loads(self.docker("info", "--format", "{{json .}}"))
        return document

    def logs(self, container: str) -> str:
        """Return what a container wrote, on both streams."""
        return self.sh(f"docker logs {container} 2>&1")

    def import_base(self) -> None:
        """Make the base image of Debian's packages."""
        tar = (REPOSITORY / ".cache").resolve() / "image/base.tar"
        if not tar.exists():
            subprocess.run((REPOSITORY / "tools/image-base",), check=True)
        self.docker("import", f"/outer{tar}", BASE)

    def build(self, context: Path, *more: str, tag: str = IMAGE) -> None:
        """Build the image without a network: payload and wheels come from the context."""
        self.docker(
            *("build", "--network=none", f"--build-arg=BASE_IMAGE={BASE}"),
            *("--build-arg=VENDOR=vendor", f"--tag={tag}", *more, f"/outer{context}"),
        )

    def size(self, image: str) -> int:
        """Return an image's size in bytes."""
        return int(self.docker("image", "inspect", "--format", "{{.Size}}", image))

    def _answers(self) -> bool:
        try:
            return bool(self.info()["ServerVersion"])
        except (RuntimeError, KeyError):
            return False


def make_context(directory: Path) -> Path:
    """Copy what the image is built from, with a sample payload and the wheels of the lock file."""
    for name in CONTEXT:
        source, target = REPOSITORY / name, directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    for name in CONTEXT_FILES:
        shutil.copy2(REPOSITORY / name, directory / name)
    make_sample_payload(directory / "vendor/deb", "deb", packages=RELEASED)
    make_sample_payload(directory / "vendor/rpm", "rpm", packages=RELEASED)
    shutil.copytree(wheels(), directory / "vendor/wheels")
    return directory


def wheels() -> Path:
    """Return the directory of the lock file's wheels for the base image's Python, checked."""
    lock = REPOSITORY / "requirements.lock"
    directory = REPOSITORY / ".cache/image/wheels"
    stamp = directory.with_name("wheels.lock")
    if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
        shutil.rmtree(directory, ignore_errors=True)
        pip = (str(REPOSITORY / ".venv/bin/python"), "-m", "pip", "--quiet", "download")
        subprocess.run(
            (
                *pip,
                *("--require-hashes", "--only-binary=:all:", "--python-version=3.11"),
                *("--no-deps", f"--requirement={lock}", f"--dest={directory}"),
            ),
            check=True,
        )
        stamp.write_bytes(lock.read_bytes())
    return directory


@contextmanager
def docker_host() -> Iterator[DockerHost]:
    """Boot a node with Docker on it."""
    with booted_node() as node:
        host = DockerHost(node)
        host.start()
        yield host
