"""What each adapter writes where CDI is all that an engine needs."""

from __future__ import annotations

import pytest

from runtime_configs.adapter import ConfigRequest, EngineAdapter
from runtime_configs.containerd.adapter import ContainerdAdapter
from runtime_configs.crio.adapter import CrioAdapter
from runtime_configs.docker.adapter import DockerAdapter
from runtime_configs.model import ConfigError, DesiredHandlers, Version
from tests.fakes.memory_files import MemoryFiles

TOP = "/etc/engine/config"
DROP_IN = "/etc/engine/config.d/99-nvidia"
GRPC = b'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\n'
RUNTIME = b"version = 3\n[plugins.'io.containerd.cri.v1.runtime']\n"


def edits(
    adapter: EngineAdapter, version: str, files: dict[str, bytes], *, enable: bool = True
) -> dict[str, bytes | None]:
    numbers = [int(each) for each in version.split(".")]
    request = ConfigRequest(
        desired=DesiredHandlers(handlers=(), enable_cdi=enable or None),
        top_level=TOP,
        drop_in=None if adapter.name == "docker" else DROP_IN,
        version=Version(major=numbers[0], minor=numbers[1]),
    )
    return {
        each.path: each.after
        for each in adapter.edits(request, MemoryFiles.holding(files).view()).edits
    }


@pytest.mark.parametrize(
    ("adapter", "version", "content"),
    [
        (ContainerdAdapter(), "2.1", b""),
        (ContainerdAdapter(), "2.3", RUNTIME),
        (ContainerdAdapter(), "1.7", GRPC + b"enable_cdi = true\n"),
        (DockerAdapter(), "28.2", b"{}"),
        (DockerAdapter(), "26.1", b'{"features": {"cdi": true}}'),
        (CrioAdapter(), "1.30", b""),
        (CrioAdapter(), "1.30", b'[crio.runtime]\ncdi_spec_dirs = ["/opt/cdi"]\n'),
    ],
)
def test_an_engine_with_cdi_on_is_left_alone(
    adapter: EngineAdapter, version: str, content: bytes
) -> None:
    assert edits(adapter, version, {TOP: content}) == {}


@pytest.mark.parametrize(
    ("adapter", "version", "content", "path", "word"),
    [
        (ContainerdAdapter(), "1.7", GRPC, TOP, b"enable_cdi = true"),
        (ContainerdAdapter(), "2.1", RUNTIME + b"enable_cdi = false\n", DROP_IN, b"enable_cdi"),
        (DockerAdapter(), "26.1", b"{}", TOP, b'"cdi": true'),
        (DockerAdapter(), "28.2", b'{"features": {"cdi": false}}', TOP, b'"cdi": true'),
        (CrioAdapter(), "1.30", b"[crio.runtime]\ncdi_spec_dirs = []\n", DROP_IN, b"/var/run/cdi"),
    ],
)
def test_an_engine_with_cdi_off_gets_that_key_alone(
    adapter: EngineAdapter, version: str, content: bytes, path: str, word: bytes
) -> None:
    after = edits(adapter, version, {TOP: content})[path]
    assert after is not None
    assert word in after
    assert b"nvidia-container-runtime" not in after
    assert b"runc" not in after
    assert edits(adapter, version, {TOP: content}, enable=False) == {}


@pytest.mark.parametrize(
    ("adapter", "version", "content"),
    [(ContainerdAdapter(), "1.6", GRPC), (DockerAdapter(), "24.0", b"{}")],
)
def test_an_engine_that_knows_no_cdi_is_refused(
    adapter: EngineAdapter, version: str, content: bytes
) -> None:
    with pytest.raises(ConfigError, match="does not support CDI"):
        edits(adapter, version, {TOP: content})
