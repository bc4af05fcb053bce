"""What is left of our handlers where somebody edited inside them while they were there."""

from __future__ import annotations

import tomllib

import pytest

from runtime_configs.adapter import EngineAdapter
from runtime_configs.containerd.adapter import ContainerdAdapter
from runtime_configs.crio.adapter import CrioAdapter
from runtime_configs.docker.adapter import DockerAdapter
from runtime_configs.model import FileEdit, Format, Role

BEFORE = b"version = 2\n"
TABLE = 'plugins."io.containerd.grpc.v1.cri".containerd'
OURS = f"""version = 2

[{TABLE}]
default_runtime_name = "nvidia"

[{TABLE}.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[{TABLE}.runtimes.nvidia]
runtime_type = "io.containerd.runc.v2"

[{TABLE}.runtimes.nvidia.options]
BinaryName = "/usr/local/nvidia/toolkit/nvidia-container-runtime"
""".encode()
ADDED = f"""
[{TABLE}.runtimes.crun]
runtime_type = "io.containerd.runc.v2"
""".encode()
CRIO = b"""[crio.runtime]
default_runtime = "nvidia"

[crio.runtime.runtimes.nvidia]
runtime_path = "/usr/local/nvidia/toolkit/nvidia-container-runtime"
runtime_type = "oci"
runtime_root = "/tmp"
"""
DOCKER = b"""{
    "runtimes": {"nvidia": {"path": "/usr/local/nvidia/toolkit/nvidia", "args": []}}
}
"""


def edit(before: bytes | None, ours: bytes, form: Format) -> FileEdit:
    return FileEdit(
        path="/etc/engine/config", before=before, after=ours, format=form, role=Role.TOP_LEVEL
    )


def reverted(before: bytes, ours: bytes, now: bytes) -> bytes | None:
    return ContainerdAdapter().strip_our_changes(edit(before, ours, Format.TOML), now)


def test_a_value_that_somebody_gave_inside_our_handler_goes_with_the_handler() -> None:
    edited = OURS.replace(b"toolkit/nvidia-container-runtime", b"toolkit/theirs")
    content = reverted(BEFORE, OURS, edited)
    assert content is not None
    assert tomllib.loads(content.decode()) == {"version": 2}


@pytest.mark.parametrize(
    ("adapter", "form", "ours", "old", "new"),
    [
        (ContainerdAdapter(), Format.TOML, b"# ours\n" + OURS, b"/nvidia-container", b"/other"),
        (CrioAdapter(), Format.TOML, CRIO, b'"/tmp"', b'"/run"'),
        (DockerAdapter(), Format.JSON, DOCKER, b"[]", b'["-x"]'),
    ],
    ids=["containerd", "crio", "docker"],
)
def test_a_file_that_was_absent_is_absent_again_after_an_edit_inside_our_handler(
    adapter: EngineAdapter, form: Format, ours: bytes, old: bytes, new: bytes
) -> None:
    now = ours.replace(old, new)
    assert now != ours
    assert adapter.strip_our_changes(edit(None, ours, form), now) is None
    if form is Format.TOML:
        kept = adapter.strip_our_changes(edit(None, ours, form), now + b"# theirs\n")
        assert kept is not None
        assert kept.strip() == b"# theirs"


def test_runc_stays_where_somebody_added_a_handler_beside_ours() -> None:
    content = reverted(BEFORE, OURS, OURS + ADDED)
    assert content is not None
    containerd = tomllib.loads(content.decode())["plugins"]["io.containerd.grpc.v1.cri"]
    assert set(containerd["containerd"]["runtimes"]) == {"runc", "crun"}
    assert "default_runtime_name" not in containerd["containerd"]


def test_a_file_that_somebody_put_in_the_place_of_ours_is_theirs_to_the_byte() -> None:
    theirs = f"""version = 2
[{TABLE}.runtimes.runc]
runtime_type = "io.containerd.runc.v2" # as everywhere here
""".encode()
    assert reverted(BEFORE, OURS, theirs) == theirs
    still_default = theirs + f'[{TABLE}]\ndefault_runtime_name = "nvidia"\n'.encode()
    content = reverted(BEFORE, OURS, still_default)
    assert content is not None
    assert b"nvidia" not in content


def test_a_half_handler_that_was_there_before_us_stays_as_it_was() -> None:
    before = f"version = 2\n[{TABLE}.runtimes.runc.options]\nSystemdCgroup = true\n".encode()
    ours = before + ADDED
    assert reverted(before, ours, ours) == before


def test_a_docker_handler_of_ours_without_its_path_goes_whole() -> None:
    before = b'{"debug": true}'
    ours = b'{"debug": true, "runtimes": {"nvidia": {"path": "/opt/nvidia", "args": []}}}'
    now = b'{"debug": true, "runtimes": {"nvidia": {"path": "/opt/nvidia", "args": ["-x"]}}}'
    content = DockerAdapter().strip_our_changes(edit(before, ours, Format.JSON), now)
    assert content is not None
    assert b"nvidia" not in content
