"""containerd 2.0 and later: a drop-in with only our tables, and the import that loads it."""

from __future__ import annotations

import tomllib

import pytest
from msgspec.structs import replace

from runtime_configs.adapter import Placement
from runtime_configs.containerd.drop_in import import_candidates
from runtime_configs.model import ConfigError, Role
from tests.unit.containerd.hosts import (
    ADAPTER,
    BINARY,
    DROP_IN,
    TOP,
    V2,
    V3,
    cri,
    edited,
    host,
    reporting,
    request,
)

ROOT_V2 = f"""\
version = 2
[plugins."{V2}".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
sandbox_mode = "podsandbox"
[plugins."{V2}".containerd.runtimes.runc.options]
SystemdCgroup = true
[plugins."{V2}".registry]
config_path = "/etc/containerd/certs.d"
"""


@pytest.mark.parametrize(
    ("engine", "root", "expected"),
    [
        ("2.0.11", "version = 2\n", 2),
        ("2.1.9", "version = 3\n", 3),
        ("2.3.4", "version = 2\n", 2),
        ("2.3.4", "version = 3\n", 3),
        ("2.3.4", "version = 4\n", 4),
        ("2.1.9", "version = 1\n", 3),
        ("2.3.4", "version = 1\n", 1),
        ("2.1.9", "oom_score = 1\n", 3),
        ("2.3.4", "oom_score = 1\n", 3),
        ("2.1.9", "", 3),
    ],
)
def test_the_drop_in_has_the_version_that_the_engine_reads_under_this_root(
    engine: str, root: str, expected: int
) -> None:
    assert tomllib.loads(edited(request(engine), host(top=root))[DROP_IN])["version"] == expected


def test_the_drop_in_holds_our_tables_alone_with_the_roots_options() -> None:
    after = edited(request("2.1.9"), host(top=ROOT_V2))
    found = cri(after[DROP_IN])
    assert sorted(found) == ["containerd"]
    assert sorted(found["containerd"]["runtimes"]) == ["nvidia", "nvidia-cdi", "nvidia-legacy"]
    assert found["containerd"]["runtimes"]["nvidia"]["options"] == {
        "SystemdCgroup": True,
        "BinaryName": BINARY,
    }


def test_only_the_import_is_added_to_the_top_level_file() -> None:
    after = edited(request("2.1.9"), host(top=ROOT_V2))[TOP]
    assert after.replace('imports = ["/etc/containerd/conf.d/*.toml"]\n', "") == ROOT_V2


def test_the_drop_in_is_written_before_the_file_that_imports_it() -> None:
    edits = ADAPTER.edits(request("2.1.9"), host(top=ROOT_V2).view())
    assert [each.role for each in edits.edits] == [Role.DROP_IN, Role.TOP_LEVEL]


@pytest.mark.parametrize(
    "pattern",
    ["/etc/containerd/conf.d/*.toml", "conf.d/*", "/etc/containerd/*/99-nvidia.toml", DROP_IN],
)
def test_an_import_that_matches_is_used_as_it_is(pattern: str) -> None:
    text = f'version = 3\nimports = ["{pattern}"]\n'
    assert list(edited(request("2.1.9"), host(top=text))) == [DROP_IN]


@pytest.mark.parametrize(
    ("parked", "pattern"),
    [
        (["old.toml"], "99-nvidia*.toml"),
        (["old.toml", "99-nvidia-old.toml"], "*99-nvidia.toml"),
        ([".hidden.toml"], "99-nvidia*.toml"),
        (["readme.txt", "old.toml.bak"], "*.toml"),
    ],
)
def test_a_file_that_lies_parked_is_not_woken(parked: list[str], pattern: str) -> None:
    files = host(
        top="version = 3\n",
        **{f"/etc/containerd/conf.d/{name}": "oom_score = 1\n" for name in parked},
    )
    imports = tomllib.loads(edited(request("2.1.9"), files)[TOP])["imports"]
    assert imports == [f"/etc/containerd/conf.d/{pattern}"]


def test_where_every_pattern_would_wake_a_file_it_is_refused() -> None:
    names = ("99-nvidia-2.toml", "x99-nvidia.toml", "99-nvidia.toml.toml")
    files = host(top="version = 3\n", **{f"/etc/containerd/conf.d/{each}": "" for each in names})
    with pytest.raises(ConfigError, match="other files"):
        ADAPTER.edits(request("2.1.9"), files.view())


def test_every_pattern_has_a_star_and_stands_for_the_drop_in() -> None:
    assert all("*" in each for each in import_candidates(DROP_IN))


def test_a_drop_in_whose_path_reads_like_a_pattern_is_loaded_all_the_same() -> None:
    path = r"/etc/containerd/conf.d/[gpu]\x/99*.toml"
    edits = edited(request("2.1.9", drop_in=path), host(top="version = 3\n"))
    assert list(edits) == [path, TOP]


def test_other_imports_stay_in_front_of_ours() -> None:
    files = host(
        top='version = 3\nimports = ["/etc/a.toml"]\n', **{"/etc/a.toml": "oom_score = 1\n"}
    )
    imports = tomllib.loads(edited(request("2.1.9"), files)[TOP])["imports"]
    assert imports == ["/etc/a.toml", "/etc/containerd/conf.d/*.toml"]


def test_a_missing_top_level_file_is_made_with_the_import() -> None:
    after = edited(request("2.1.9"), host())
    assert after[TOP] == 'version = 3\nimports = ["/etc/containerd/conf.d/*.toml"]\n'


def test_a_file_that_is_read_later_and_overrules_ours_is_edited_too() -> None:
    files = host(
        top='version = 3\nimports = ["conf.d/*.toml"]\n',
        **{
            "/etc/containerd/conf.d/zz-site.toml": f"""\
version = 3
[plugins.'{V3}'.containerd]
default_runtime_name = 'runc'  # the site's
"""
        },
    )
    after = edited(request("2.1.9"), files)
    assert list(after) == [DROP_IN, "/etc/containerd/conf.d/zz-site.toml"]
    later = after["/etc/containerd/conf.d/zz-site.toml"]
    assert cri(later, V3)["containerd"]["default_runtime_name"] == "nvidia"
    assert "# the site's" in later


def test_a_drop_in_above_its_root_is_refused() -> None:
    with pytest.raises(ConfigError, match="above version 2"):
        ADAPTER.edits(request("2.2.7"), host(top="version = 2\n", drop_in="version = 3\n").view())


def test_what_somebody_left_in_the_drop_in_stays() -> None:
    left = f"version = 3\n[plugins.'{V3}'.containerd.runtimes.runsc]\nruntime_type = 'runsc'\n"
    after = edited(request("2.1.9"), host(top="version = 3\n", drop_in=left))[DROP_IN]
    assert all(line in after.splitlines() for line in left.splitlines())
    assert sorted(cri(after, V3)["containerd"]["runtimes"]) == [
        "nvidia",
        "nvidia-cdi",
        "nvidia-legacy",
        "runsc",
    ]


def test_a_drop_in_of_a_distribution_leaves_the_rendered_file_alone() -> None:
    root = "# File generated by k3s. DO NOT EDIT.\nversion = 3\nimports = ['/d/*.toml']\n"
    asked = request("2.1.9", placement=Placement.DROP_IN_ONLY, drop_in="/d/99-nvidia.toml")
    assert list(edited(asked, host(top=root))) == ["/d/99-nvidia.toml"]


def test_a_drop_in_of_a_distribution_has_to_take_effect() -> None:
    asked = request("2.1.9", placement=Placement.DROP_IN_ONLY, drop_in=None)
    with pytest.raises(ConfigError, match="no drop-in"):
        ADAPTER.edits(asked, host(top="version = 3\n").view())


def test_cdi_and_the_default_are_left_alone_when_not_asked_for() -> None:
    found = cri(edited(request("2.1.9", default=None), host(top="version = 3\n"))[DROP_IN], V3)
    assert sorted(found) == ["containerd"]
    assert sorted(found["containerd"]) == ["runtimes"]


def test_under_a_root_of_version_3_with_a_lower_import_the_roots_key_paths_are_used() -> None:
    root = f"""\
version = 3
imports = ["conf.d/*.toml"]
[plugins.'{V3}'.containerd]
default_runtime_name = 'runc'
[plugins.'{V3}'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
"""
    files = host(top=root, **{"/etc/containerd/conf.d/10-site.toml": "version = 2\n"})
    after = edited(request("2.1.9"), files)[DROP_IN]
    assert tomllib.loads(after)["version"] == 2
    assert cri(after, V3)["containerd"]["default_runtime_name"] == "nvidia"


def test_a_handler_that_is_added_while_ours_is_the_default_changes_nothing_of_ours() -> None:
    added = (
        f'[plugins."{V2}".containerd.runtimes.crun]\n'
        'runtime_type = "io.containerd.runc.v2"\nprivileged_without_host_devices = true\n'
        f'[plugins."{V2}".containerd.runtimes.crun.options]\nBinaryName = "/usr/bin/crun"\n'
    )
    before = reporting("runc")
    first = edited(request("2.1.9", effective=before), host(top="version = 2\n"))[DROP_IN]
    asked = replace(
        request("2.1.9", effective=replace(before, default="nvidia")), previous_default="runc"
    )
    assert edited(asked, host(top=f"version = 2\n{added}"))[DROP_IN] == first
    chosen = f'version = 2\n[plugins."{V2}".containerd]\ndefault_runtime_name = "crun"\n{added}'
    assert "privileged" in edited(asked, host(top=chosen))[DROP_IN]
