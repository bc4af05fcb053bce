"""containerd 1.x, and engines of unknown version: the file that counts is edited where it is."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from msgspec.structs import replace

from runtime_configs.adapter import ConfigRequest
from runtime_configs.model import ConfigError, Role
from tests.unit.containerd.hosts import (
    ADAPTER,
    BINARY,
    TOP,
    V2,
    V3,
    cri,
    edited,
    host,
    reporting,
    request,
)

COMMENTED = f"""\
# kept
version = 2

[plugins."{V2}"]
  sandbox_image = "registry.example/pause:3.9"  # ours
  [plugins."{V2}".containerd]
    default_runtime_name = "runc"
    [plugins."{V2}".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      privileged_without_host_devices = true
      [plugins."{V2}".containerd.runtimes.runc.options]
        SystemdCgroup = true  # cgroup 2
"""


def test_each_handler_has_the_options_of_the_default_runtime_and_its_own_binary() -> None:
    found = cri(edited(request(), host(top=COMMENTED))[TOP])
    runtimes = found["containerd"]["runtimes"]
    assert runtimes["nvidia-cdi"] == {
        "runtime_type": "io.containerd.runc.v2",
        "privileged_without_host_devices": True,
        "options": {"SystemdCgroup": True, "BinaryName": f"{BINARY}.cdi"},
    }
    assert list(runtimes) == ["runc", "nvidia", "nvidia-cdi", "nvidia-legacy"]


def test_every_line_that_was_there_stays_but_the_defaults_name() -> None:
    lines = edited(request(), host(top=COMMENTED))[TOP].splitlines()
    gone = [line for line in COMMENTED.splitlines() if line not in lines]
    assert [line.strip() for line in gone] == ['default_runtime_name = "runc"']


def test_without_set_as_default_the_defaults_name_stays() -> None:
    lines = edited(request(default=None), host(top=COMMENTED))[TOP].splitlines()
    assert [line for line in COMMENTED.splitlines() if line not in lines] == []


@pytest.mark.parametrize("text", ["", "# only this\n"])
@pytest.mark.parametrize("engine", ["1.6.20", "1.7.24", None])
def test_a_file_without_a_key_becomes_version_2_and_keeps_the_built_in_runc(
    text: str, engine: str | None
) -> None:
    after = edited(request(engine), host(top=text))[TOP]
    assert tomllib.loads(after)["version"] == 2
    assert cri(after)["containerd"]["runtimes"]["runc"]["runtime_type"] == "io.containerd.runc.v2"


def test_a_missing_file_is_made_in_version_2() -> None:
    assert tomllib.loads(edited(request(), host())[TOP])["version"] == 2


def test_a_version_1_file_stays_one_and_names_the_binary_twice() -> None:
    text = '[plugins.cri.containerd.runtimes.runc]\nruntime_type = "io.containerd.runc.v2"\n'
    after = edited(request(), host(top=text))[TOP]
    assert "version" not in tomllib.loads(after)
    options = cri(after, "cri")["containerd"]["runtimes"]["nvidia"]["options"]
    assert options == {"BinaryName": BINARY, "Runtime": BINARY}


def test_runc_is_not_added_where_the_file_names_handlers_without_it() -> None:
    text = f"""\
version = 2
[plugins."{V2}".containerd]
default_runtime_name = "nvidia"
[plugins."{V2}".containerd.runtimes.nvidia]
runtime_type = "io.containerd.runc.v2"
base_runtime_spec = "/etc/containerd/base.json"
[plugins."{V2}".containerd.runtimes.nvidia.options]
BinaryName = "/usr/bin/nvidia-container-runtime"
SystemdCgroup = true
"""
    runtimes = cri(edited(request(), host(top=text))[TOP])["containerd"]["runtimes"]
    assert sorted(runtimes) == ["nvidia", "nvidia-cdi", "nvidia-legacy"]
    assert runtimes["nvidia-legacy"] == {
        "runtime_type": "io.containerd.runc.v2",
        "base_runtime_spec": "/etc/containerd/base.json",
        "options": {"BinaryName": f"{BINARY}.legacy", "SystemdCgroup": True},
    }


def test_the_default_runtime_counts_and_not_the_first_or_runc() -> None:
    text = f"""\
version = 2
[plugins."{V2}".containerd]
default_runtime_name = "crun"
[plugins."{V2}".containerd.runtimes.crun]
runtime_type = "io.containerd.runc.v2"
[plugins."{V2}".containerd.runtimes.crun.options]
BinaryName = "/usr/bin/crun"
SystemdCgroup = true
[plugins."{V2}".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""
    runtimes = cri(edited(request(), host(top=text))[TOP])["containerd"]["runtimes"]
    assert runtimes["nvidia"]["options"] == {"BinaryName": BINARY, "SystemdCgroup": True}
    assert runtimes["crun"]["options"] == {"BinaryName": "/usr/bin/crun", "SystemdCgroup": True}


def test_a_runtime_for_virtual_machines_as_default_gives_nothing_to_inherit() -> None:
    text = f"""\
version = 2
[plugins."{V2}".containerd]
default_runtime_name = "kata"
[plugins."{V2}".containerd.runtimes.kata]
runtime_type = "io.containerd.kata.v2"
"""
    runtimes = cri(edited(request(), host(top=text))[TOP])["containerd"]["runtimes"]
    assert runtimes["nvidia"]["runtime_type"] == "io.containerd.runc.v2"


def test_options_that_only_the_engine_reports_are_taken_from_there() -> None:
    asked = request(effective=reporting("runc", SystemdCgroup=True, IoUid=0))
    runtimes = cri(edited(asked, host(top="version = 2\n"))[TOP])["containerd"]["runtimes"]
    assert runtimes["nvidia"]["options"] == {"SystemdCgroup": True, "BinaryName": BINARY}


def test_annotations_join_inherited_ones_and_the_override_comes_last() -> None:
    text = COMMENTED.replace(
        "privileged_without_host_devices = true", 'container_annotations = ["a/*"]'
    )
    asked = request(
        annotations=("cdi.k8s.io/*",),
        override={"snapshotter": "nydus", "options": {"SystemdCgroup": False}},
    )
    found = cri(edited(asked, host(top=text))[TOP])["containerd"]["runtimes"]["nvidia"]
    assert found["container_annotations"] == ["cdi.k8s.io/*", "a/*"]
    assert found["snapshotter"] == "nydus"
    assert found["options"] == {"SystemdCgroup": False, "BinaryName": BINARY}


@pytest.mark.parametrize(("engine", "written"), [("1.6.20", False), ("1.7.24", True), (None, True)])
def test_cdi_is_switched_on_where_the_engine_may_know_the_key(
    engine: str | None,
    written: bool,  # noqa: FBT001 - a column of the table
) -> None:
    found = cri(edited(request(engine, enable_cdi=True), host(top=COMMENTED))[TOP])
    assert ("enable_cdi" in found) == written


def test_of_imported_files_the_last_one_with_the_cri_table_is_edited() -> None:
    files = host(
        top=f'imports = ["conf.d/*.toml"]\n{COMMENTED}',
        **{
            "/etc/containerd/conf.d/10-a.toml": f'[plugins."{V2}".registry]\nconfig_path = "/a"\n',
            "/etc/containerd/conf.d/20-b.toml": f'[plugins."{V2}".registry]\nconfig_path = "/b"\n',
            "/etc/containerd/conf.d/30-c.toml": "oom_score = -999\n",
        },
    )
    edits = ADAPTER.edits(request(), files.view())
    assert [(each.path, each.role) for each in edits.edits] == [
        ("/etc/containerd/conf.d/20-b.toml", Role.IMPORTED)
    ]
    assert any("20-b.toml" in note for note in edits.notes)


@pytest.mark.parametrize(("engine", "heeded"), [("1.6.20", False), ("1.6.29", True)])
def test_a_relative_pattern_starts_at_the_root_before_1_6_29(
    engine: str,
    heeded: bool,  # noqa: FBT001 - a column of the table
) -> None:
    files = host(
        top=f'imports = ["conf.d/*.toml"]\n{COMMENTED}',
        **{"/etc/containerd/conf.d/a.toml": f'[plugins."{V2}".registry]\nconfig_path = "/a"\n'},
    )
    edits = ADAPTER.edits(request(engine), files.view()).edits
    assert [each.path == TOP for each in edits] == [not heeded]


def test_a_file_that_a_program_renders_is_not_edited_but_named() -> None:
    files = host(
        top='version = 2\nimports = ["/run/k/cri.toml"]\n',
        **{"/run/k/cri.toml": f'[plugins."{V2}".registry]\nconfig_path = "/a"\n'},
    )
    with pytest.raises(ConfigError, match=r"/run/k/cri\.toml"):
        ADAPTER.edits(request(), files.view())


def test_what_nvidias_installer_left_in_a_drop_in_is_taken_over() -> None:
    left = f"""\
version = 2
[plugins."{V2}"]
  sandbox_image = "registry.example/pause:3.9"
  [plugins."{V2}".containerd]
    default_runtime_name = "nvidia"
    [plugins."{V2}".containerd.runtimes.nvidia]
      runtime_type = "io.containerd.runc.v2"
      somebodys = "key"
      [plugins."{V2}".containerd.runtimes.nvidia.options]
        BinaryName = "/usr/bin/nvidia-container-runtime"
    [plugins."{V2}".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."{V2}".containerd.runtimes.runc.options]
        SystemdCgroup = true
"""
    files = host(top='version = 2\nimports = ["/etc/containerd/conf.d/*.toml"]\n', drop_in=left)
    after = edited(request(), files)
    assert list(after) == ["/etc/containerd/conf.d/99-nvidia.toml"]
    found = cri(after["/etc/containerd/conf.d/99-nvidia.toml"])
    nvidia = found["containerd"]["runtimes"]["nvidia"]
    assert nvidia["somebodys"] == "key"
    assert nvidia["options"] == {"BinaryName": BINARY, "SystemdCgroup": True}


def test_a_table_of_the_default_runtime_becomes_a_handler_of_its_name() -> None:
    text = f"""\
version = 2
[plugins."{V2}".containerd.default_runtime]
runtime_type = "io.containerd.runc.v2"
[plugins."{V2}".containerd.default_runtime.options]
SystemdCgroup = true
"""
    found = cri(edited(request(), host(top=text))[TOP])["containerd"]
    assert "default_runtime" not in found
    assert found["runtimes"]["default"]["options"] == {"SystemdCgroup": True}
    assert found["runtimes"]["nvidia"]["options"] == {"SystemdCgroup": True, "BinaryName": BINARY}
    assert found["runtimes"]["runc"]["runtime_type"] == "io.containerd.runc.v2"


def test_the_legacy_form_names_the_default_by_a_table() -> None:
    after = edited(request("1.2.0", legacy=True), host(top=""))[TOP]
    found = cri(after, "cri")["containerd"]
    assert "default_runtime_name" not in found
    assert found["default_runtime"]["options"] == {"BinaryName": BINARY, "Runtime": BINARY}


def test_a_config_version_that_the_engine_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigError, match="config version 3 is newer"):
        ADAPTER.edits(request("1.7.24"), host(top="version = 3\n").view())


def test_an_engine_of_unknown_version_with_a_version_3_file_gets_version_3() -> None:
    after = edited(request(None), host(top="version = 3\n"))[TOP]
    assert cri(after, V3)["containerd"]["default_runtime_name"] == "nvidia"


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ('disabled_plugins = ["cri"]\n', "cri"),
        (f'version = 2\ndisabled_plugins = ["{V2}"]\n', V2),
        (f'version = 3\ndisabled_plugins = ["aufs.x", "{V3}"]\n', V3),
        ('version = 3\ndisabled_plugins = ["io.containerd.cri.v1.images"]\n', "cri.v1.images"),
    ],
)
@pytest.mark.parametrize("engine", ["1.7.24", "2.1.9", "2.3.4", None])
def test_a_disabled_cri_plugin_is_refused_naming_the_file(
    text: str, entry: str, engine: str | None
) -> None:
    with pytest.raises(ConfigError, match=entry) as raised:
        ADAPTER.edits(request(engine), host(top=text).view())
    assert raised.value.path == TOP
    assert "disabled_plugins" in raised.value.hint


def test_a_plugin_that_an_imported_file_disables_is_found_too() -> None:
    files = host(
        top='version = 2\nimports = ["/etc/x.toml"]\n',
        **{"/etc/x.toml": f'disabled_plugins = ["{V2}"]\n'},
    )
    with pytest.raises(ConfigError, match=r"/etc/x\.toml"):
        ADAPTER.edits(request(), files.view())


def test_a_declared_drop_in_that_is_not_used_is_told() -> None:
    edits = ADAPTER.edits(request(drop_in_declared=True), host(top=COMMENTED).view())
    assert any("99-nvidia.toml is not used" in note for note in edits.notes)


def test_a_file_that_a_distribution_renders_is_refused() -> None:
    text = "# File generated by k3s. DO NOT EDIT. Use config.toml.tmpl instead.\nversion = 2\n"
    with pytest.raises(ConfigError, match="rewritten at each start"):
        ADAPTER.edits(request(), host(top=text).view())


@pytest.mark.parametrize("text", ["version = \n", 'version = "two"\n', "imports = 3\n", "\xff"])
def test_a_file_that_does_not_parse_is_named(text: str) -> None:
    files = host()
    files.put(TOP, text.encode("latin-1"))
    with pytest.raises(ConfigError, match=TOP):
        ADAPTER.edits(request(), files.view())


@pytest.mark.parametrize("imported", [False, True])
@pytest.mark.parametrize("name", ["nvidia", "nvidia-cdi"])
def test_a_handler_of_our_name_that_is_a_sandbox_is_refused_naming_the_file(
    name: str,
    imported: bool,  # noqa: FBT001 - drawn
) -> None:
    text = f"""\
version = 2
[plugins."{V2}".containerd.runtimes.{name}]
Runtime_Type = "io.containerd.other.v1"
RUNTIME_TYPE = "io.containerd.runsc.v1"
"""
    files = host(top=text)
    if imported:
        files = host(top='version = 2\nimports = ["/etc/site.toml"]\n', **{"/etc/site.toml": text})
    words = f"{name} has runtime_type io.containerd.runsc.v1"
    with pytest.raises(ConfigError, match=words) as raised:
        ADAPTER.edits(request(), files.view())
    assert raised.value.path == ("/etc/site.toml" if imported else TOP)
    assert "--runtime-name" in raised.value.hint


def test_a_runtime_type_that_the_user_chose_is_no_sandbox_of_somebody() -> None:
    text = f'version = 2\n[plugins."{V2}".containerd.runtimes.nvidia]\nruntime_type = "x.own.v1"\n'
    asked = request()
    asked = replace(asked, desired=replace(asked.desired, runtime_type="x.own.v1"))
    assert edits_of(asked, text)["nvidia"]["runtime_type"] == "x.own.v1"
    with pytest.raises(ConfigError, match=r"x\.own\.v1"):
        edits_of(request(), text)


def edits_of(asked: ConfigRequest, text: str) -> dict[str, Any]:
    edits = ADAPTER.edits(asked, host(top=text).view()).edits
    found: dict[str, Any] = cri((edits[0].after or b"").decode())["containerd"]["runtimes"]
    return found


def test_the_legacy_form_does_not_take_a_default_that_is_a_sandbox() -> None:
    text = '[plugins.cri.containerd.default_runtime]\nruntime_type = "io.containerd.runsc.v1"\n'
    with pytest.raises(ConfigError, match="default_runtime has runtime_type"):
        ADAPTER.edits(request("1.2.0", legacy=True), host(top=text).view())
