"""A setup of ours told by the content of an engine's files alone."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from runtime_configs.adapter import ConfigRequest
from runtime_configs.containerd.drop_in import HEADER
from runtime_configs.model import DesiredHandlers, EngineName, Version
from runtime_configs.overlay import Overlay
from runtime_configs.registry import adapter_for
from tests.fakes.node import FakeView

BINARY = "/usr/local/nvidia/toolkit/nvidia-container-runtime"


def left_of(
    engine: EngineName, files: Mapping[str, bytes], top_level: str, drop_in: str | None = None
) -> dict[str, bytes | None]:
    """Return each file of ours without us."""
    request = ConfigRequest(
        desired=DesiredHandlers(handlers=()),
        top_level=top_level,
        drop_in=drop_in,
        version=Version(major=1, minor=7),
    )
    found = adapter_for(engine).own_files(request, Overlay(FakeView(), files))
    return {each.edit.path: each.edit.after for each in found}


def test_docker_keeps_all_that_is_not_ours() -> None:
    content = (
        b'{\n  "debug": true,\n  "default-runtime": "nvidia",\n  "runtimes": {\n'
        b'    "kata": {\n      "path": "/usr/bin/kata"\n    },\n'
        b'    "nvidia": {\n      "path": "%s"\n    }\n  }\n}\n' % BINARY.encode()
    )
    assert left_of(EngineName.DOCKER, {"/d.json": content}, "/d.json") == {
        "/d.json": b'{\n  "debug": true,\n  "runtimes": {\n'
        b'    "kata": {\n      "path": "/usr/bin/kata"\n    }\n  }\n}\n'
    }


@pytest.mark.parametrize("content", [b"{}", b'{"runtimes": {"nvidia": {"path": "/opt/x"}}}'])
def test_docker_without_a_handler_of_ours_has_none(content: bytes) -> None:
    assert left_of(EngineName.DOCKER, {"/d.json": content}, "/d.json") == {}


def test_the_drop_in_of_crio_goes_whole() -> None:
    content = f"""[crio.runtime]
default_runtime = "nvidia"
[crio.runtime.runtimes.nvidia]
runtime_path = "{BINARY}"
""".encode()
    files = {"/crio.conf": b"# theirs\n", "/conf.d/99": content}
    assert left_of(EngineName.CRIO, files, "/crio.conf", "/conf.d/99") == {"/conf.d/99": None}


@pytest.mark.parametrize(("others", "default"), [(b"", None), (b"crun", b'"crun"')])
def test_containerd_has_a_default_that_is_there(others: bytes, default: bytes | None) -> None:
    table = b'[plugins."io.containerd.grpc.v1.cri".containerd'
    content = (
        b"version = 2\n" + table + b']\ndefault_runtime_name = "nvidia"\n'
        + table + b'.runtimes.nvidia.options]\nbinaryName = "%s"\n' % BINARY.encode()
    )  # fmt: skip
    if others:
        content += table + b'.runtimes.%s]\nruntime_type = "io.containerd.runc.v2"\n' % others
    left = left_of(EngineName.CONTAINERD, {"/c.toml": content}, "/c.toml")["/c.toml"]
    assert left is not None
    assert b"nvidia" not in left
    assert (b"default_runtime_name" in left) is (default is not None)
    assert default is None or b"default_runtime_name = " + default in left


def test_a_drop_in_with_our_header_is_certainly_ours() -> None:
    content = HEADER + (
        b'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\nenable_cdi = true\n'
        b'[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia.options]\n'
        b'BinaryName = "%s"\n' % BINARY.encode()
    )
    files = {"/c.toml": b"version = 2\n", "/99.toml": content}
    assert left_of(EngineName.CONTAINERD, files, "/c.toml", "/99.toml") == {"/99.toml": None}
