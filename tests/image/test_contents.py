"""What is in the image: listed in it, and in layers that two builds of the same files share."""

from __future__ import annotations

import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from testbed.packages import REPOSITORY
from tests.image.host import BASE, IMAGE, DockerHost, make_context
from toolkit.version import VERSION

pytestmark = pytest.mark.image

AGAIN = "nvidia-toolkit-installer-again"


def road() -> str:
    """Return the README's lines that build the image and bring it to a node."""
    readme = (REPOSITORY / "README.md").read_text()
    block: str = readme.partition("## The image")[2].split("```")[1]
    return block


def test_the_readmes_lines_bring_the_image_into_containerd_under_the_charts_name(
    docker: DockerHost,
) -> None:
    (tag,) = re.findall(r"^TAG=(\S+)", road(), re.MULTILINE)
    assert tag == VERSION
    (load,) = re.findall(r"^docker save .*# containerd$", road(), re.MULTILINE)
    docker.docker("tag", IMAGE, f"{IMAGE}:{tag}")
    docker.sh(f"TAG={tag}; {load}")
    listed = docker.node.run("ctr", "--namespace", "k8s.io", "images", "list", "--quiet")
    name = f"docker.io/library/{IMAGE}:{tag}"
    assert name in listed.split()
    chart = (REPOSITORY / "deploy/manifests").glob("*.yaml")
    assert any(f"{IMAGE}:{tag}" in path.read_text() for path in chart)
    docker.node.run("ctr", "--namespace", "k8s.io", "images", "remove", name)
    docker.docker("image", "rm", f"{IMAGE}:{tag}")


def test_the_readmes_build_is_a_build_of_this_dockerfile() -> None:
    (build,) = re.findall(r"^docker build .*", road(), re.MULTILINE)
    given = re.findall(r"--build-arg (\w+)=", build)
    declared = re.findall(r"^ARG (\w+)", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    assert set(given) <= set(declared)


def layers(docker: DockerHost, image: str) -> list[str]:
    shown = docker.docker("image", "inspect", "--format={{json .RootFS.Layers}}", image)
    found: list[str] = json.loads(shown)
    return found


def printed(docker: DockerHost, path: str) -> str:
    return docker.docker("run", "--rm", "--network=none", "--entrypoint=/bin/cat", IMAGE, path)


@pytest.fixture(scope="module")
def sbom(docker: DockerHost) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(printed(docker, "/opt/nvidia-toolkit/sbom.cdx.json"))
    return document


def test_two_builds_of_the_same_files_give_the_same_layers(
    docker: DockerHost, tmp_path: Path
) -> None:
    first = layers(docker, IMAGE)
    base = layers(docker, BASE)
    assert first[: len(base)] == base
    assert len(first) == len(base) + 2, "the payload, and the program"
    context = make_context(tmp_path / "context")
    for path in context.rglob("*"):
        if not path.is_symlink():
            path.touch()
    time.sleep(1.1)  # a file's time in a layer has whole seconds
    docker.build(context, "--no-cache", tag=AGAIN)
    try:
        assert layers(docker, AGAIN) == first
    finally:
        docker.docker("image", "rm", "--force", AGAIN)


def test_the_image_lists_the_python_packages_of_the_lock_file(sbom: dict[str, Any]) -> None:
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.5")
    assert sbom["metadata"]["component"]["version"] == VERSION
    lock = (REPOSITORY / "requirements.lock").read_text()
    wanted = {
        f"pkg:pypi/{name}@{version}"
        for name, version in re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE)
    }
    assert wanted
    found = {each.get("purl", "") for each in sbom["components"]}
    assert {each for each in found if each.startswith("pkg:pypi/")} == wanted


def test_the_image_lists_each_file_of_the_payload_with_its_digest(
    docker: DockerHost, sbom: dict[str, Any]
) -> None:
    files = {
        each["name"]: each["hashes"][0]["content"]
        for each in sbom["components"]
        if each["type"] == "file"
    }
    name = "/artifacts/deb/usr/bin/nvidia-container-runtime"
    assert files[name] == hashlib.sha256(printed(docker, name).encode()).hexdigest()
    listed = docker.docker(
        *("run", "--rm", "--network=none", "--entrypoint=/usr/bin/find", IMAGE),
        *("/artifacts", "-type", "f"),
    )
    assert set(listed.split()) == set(files)
    references = [each["bom-ref"] for each in sbom["components"]]
    assert len(set(references)) == len(references)
