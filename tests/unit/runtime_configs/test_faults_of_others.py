"""What dockerd and CRI-O do not start with though their own check accepts it."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from runtime_configs.crio.adapter import CrioAdapter
from runtime_configs.docker.adapter import DockerAdapter
from runtime_configs.model import Version
from runtime_configs.overlay import Overlay
from tests.fakes.host_tree import HostTree
from tests.unit.runtime_configs import test_crio, test_docker

NEWER = Version(major=28, minor=5)


def of_docker(content: object, *arguments: str, version: Version | None = NEWER) -> list[str]:
    asked = replace(test_docker.REQUEST, version=version, engine_arguments=arguments)
    tree = HostTree({test_docker.PATH: json.dumps(content, indent=1).encode()})
    return [str(each) for each in DockerAdapter().faults(asked, Overlay(tree, {}))]


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ({"runtimes": {"runc": {"path": "runc"}}}, 3, 'keeps the runtime name "runc"'),
        ({"debug": True, "default-runtime": "kata"}, 3, '"kata", which is not a runtime'),
        ({"runtimes": {"x": {"path": "a", "runtimeType": "b"}}}, 3, "exclude each other"),
        ({"runtimes": {"x": {}}}, 3, "neither path nor runtimeType"),
        ({"runtimes": {"x": {"path": "a", "options": {"a": 1}}}}, 3, "options are for"),
        ({"runtimes": {"x": {"runtimeType": "a", "runtimeArgs": ["b"]}}}, 3, "runtimeArgs are"),
    ],
)
def test_what_dockerd_refuses_is_named_with_its_line(content: object, line: int, said: str) -> None:
    (found,) = of_docker(content)
    assert found.startswith(f"{test_docker.PATH}:{line}: ")
    assert said in found


def test_what_dockerd_takes_is_no_fault() -> None:
    assert of_docker({}) == []
    assert of_docker({"runtimes": None, "default-runtime": "io.containerd.runsc.v1"}) == []
    assert of_docker({"runtimes": {"x": {}}}, version=Version(major=20, minor=10)) == []
    assert of_docker({"default-runtime": "x"}, "dockerd", "--add-runtime", "x=/bin/x") == []
    assert of_docker({"runtimes": {"x": {"path": "/x", "runtimeArgs": ["a"]}}}) == []


def test_a_reload_of_dockerd_brings_what_info_has_not() -> None:
    adapter = DockerAdapter()
    live = adapter.effective(
        json.dumps(
            {"Runtimes": {"runc": {"path": "runc"}, "kata": {"path": "/a"}}, "Debug": False}
        ).encode()
    )
    files = adapter.effective(b'{"runtimes": {"kata": {"path": "/b"}}, "debug": true}')
    assert adapter.pending(live, files, test_docker.REQUEST) == (
        'runtimes.kata.path: "/a" is in force, the files say "/b"',
        "debug: false is in force, the files say true",
    )
    assert adapter.pending(live, adapter.effective(b"{}"), test_docker.REQUEST) == ()


def of_crio(text: bytes, **more: bytes) -> list[str]:
    tree = HostTree({test_crio.TOP: text, **more})
    return [str(each) for each in CrioAdapter().faults(test_crio.REQUEST, Overlay(tree, {}))]


def test_the_default_handler_of_crio_needs_a_type_and_a_binary() -> None:
    text = b'[crio.runtime]\ndefault_runtime = "x"\n[crio.runtime.runtimes.x]\n'
    there = {"/usr/bin/crun": b"#!"}
    assert of_crio(text + b'runtime_path = "/usr/bin/crun"\nruntime_type = "oci"\n', **there) == []
    assert of_crio(text + b'runtime_path = "/usr/bin/crun"\n') == [
        f"{test_crio.TOP}:4: the default handler x needs /usr/bin/crun, which is not there"
    ]
    assert of_crio(text + b'runtime_type = "wasm"\n') == [
        f'{test_crio.TOP}:4: the default handler x has the type "wasm", not "oci"'
    ]
    assert of_crio(b'[crio.runtime.runtimes.x]\nruntime_type = "wasm"\n') == []


def test_a_restart_of_crio_brings_what_its_config_has_not() -> None:
    adapter = CrioAdapter()
    live, files = (
        adapter.effective(test_crio.LIVE),
        adapter.effective(test_crio.LIVE.replace(b"/usr/bin/kata", b"/o")),
    )
    assert adapter.pending(live, live, test_crio.REQUEST) == ()
    assert adapter.pending(live, files, test_crio.REQUEST) == (
        'crio.runtime.runtimes.kata.runtime_path: "/usr/bin/kata" is in force, the files say "/o"',
    )


REPORTED = b"""
[crio]
internal_wipe = true
[crio.runtime]
default_runtime = "runc"
pids_limit = -1
[crio.runtime.runtimes.runc]
runtime_path = "/usr/bin/runc"
container_min_memory = "12MiB"
container_create_timeout = 240
"""
"""What CRI-O 1.36.3 says of itself: every setting, those with their default value too."""
PRINTED = b"""
[crio]
# internal_wipe = true
[crio.runtime]
default_runtime = "runc"
# pids_limit = -1
[crio.runtime.runtimes.runc]
runtime_path = "/usr/bin/runc"
container_min_memory = ""
privileged_without_host_devices = false
"""
"""What its ``crio config`` prints of the same files."""


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (b"x" * 9, b"", ()),
        (
            b"# pids_limit = -1",
            b"pids_limit = 9",
            ("pids_limit: -1 is in force, the files say 9",),
        ),
        (
            b'/usr/bin/runc"',
            b'/other"',
            ('runtimes.runc.runtime_path: "/usr/bin/runc" is in force, the files say "/other"',),
        ),
        (
            b"_devices = false\n",
            b'_devices = false\n[crio.runtime.runtimes.crun]\nruntime_path = "/crun"\n',
            ('runtimes.crun.runtime_path: nothing is in force, the files say "/crun"',),
        ),
    ],
)
def test_a_default_that_crio_prints_as_a_comment_is_no_pending_edit(
    old: bytes, new: bytes, found: tuple[str, ...]
) -> None:
    adapter = CrioAdapter()
    live, files = adapter.effective(REPORTED), adapter.effective(PRINTED.replace(old, new))
    assert adapter.pending(live, files, test_crio.REQUEST) == tuple(
        f"crio.runtime.{each}" for each in found
    )


def test_a_handler_that_somebody_took_from_crios_files_is_a_pending_edit() -> None:
    adapter = CrioAdapter()
    more = b'[crio.runtime.runtimes.kata]\nruntime_path = "/kata"\n'
    live, files = adapter.effective(REPORTED + more), adapter.effective(PRINTED)
    assert adapter.pending(live, files, test_crio.REQUEST) == (
        'crio.runtime.runtimes.kata.runtime_path: "/kata" is in force, the files say nothing',
    )
