"""Every form of containerd's files, before and after us, as the engine's own dump has them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from runtime_configs.containerd.adapter import ContainerdAdapter
from runtime_configs.formats.merge import merge3
from runtime_configs.model import ConfigError, EffectiveConfig
from testbed.containerd import ContainerdRelease
from tests.fakes.host_tree import HostTree
from tests.unit.containerd.hosts import HANDLERS, V2, V3, request

pytestmark = pytest.mark.engine

ADAPTER = ContainerdAdapter()
Files = dict[str, str]
COMMENTED = f"""\
# the platform team's
version = 2
[plugins."{V2}"]
  sandbox_image = "registry.example/pause:3.9"  # mirrored
  [plugins."{V2}".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."{V2}".containerd.runtimes.runc.options]
      SystemdCgroup = true
"""
REGISTRY = f'version = 2\n[plugins."{V2}".registry]\nconfig_path = "/etc/containerd/certs.d"\n'
VERSION_1 = """\
oom_score = 5
[plugins.cri]
  sandbox_image = "registry.example/pause:3.9"
  [plugins.cri.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""
VERSION_3 = f"""\
version = 3
[plugins.'{V3}'.containerd.runtimes.runc.options]
  SystemdCgroup = true
[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = '/etc/containerd/certs.d'
"""
EKS = f"""\
version = 2
[plugins."{V2}".containerd]
default_runtime_name = "nvidia"
[plugins."{V2}".containerd.runtimes.nvidia]
runtime_type = "io.containerd.runc.v2"
[plugins."{V2}".containerd.runtimes.nvidia.options]
BinaryName = "/usr/bin/nvidia-container-runtime"
SystemdCgroup = true
"""
FORMS: dict[str, Callable[[ContainerdRelease], Files]] = {
    "empty": lambda _: {"config.toml": ""},
    "comments": lambda _: {"config.toml": "# nothing\n"},
    "no version": lambda _: {"config.toml": "oom_score = -10\n"},
    "commented": lambda _: {"config.toml": COMMENTED},
    "no runtimes": lambda _: {"config.toml": REGISTRY},
    "imports a registry": lambda _: {
        "config.toml": f'imports = ["DIR/admin/*.toml"]\n{COMMENTED}',
        "admin/registry.toml": REGISTRY,
    },
    "version 1": lambda _: {"config.toml": VERSION_1},
    "explicit version 1": lambda _: {"config.toml": f"version = 1\n{VERSION_1}"},
    "handler of the image": lambda _: {"config.toml": EKS},
    "the engine's default": lambda release: {"config.toml": release.config_default().decode()},
    "version 3": lambda _: {"config.toml": VERSION_3},
    "parked drop-in": lambda _: {
        "config.toml": VERSION_3,
        "conf.d/10-parked.toml": "oom_score = 7\n",
    },
}
ONLY_2 = ("version 3", "parked drop-in")


def dumped(release: ContainerdRelease, top_level: Path) -> EffectiveConfig:
    """Return what the engine makes of its files."""
    command = (release.programs / "containerd", "--config", top_level, "config", "dump")
    done = subprocess.run(command, check=True, capture_output=True)
    return ADAPTER.effective(done.stdout)


def tree(root: Path) -> HostTree:
    """Return the files below a directory as a host's, under their real paths."""
    return HostTree({str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()})


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("form", FORMS)
def test_nothing_but_what_was_meant_differs_in_the_engines_dump(
    containerd_release: ContainerdRelease,
    tmp_path: Path,
    form: str,
    known: bool,  # noqa: FBT001 - a column of the table
) -> None:
    for name, text in FORMS[form](containerd_release).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text.replace("DIR", str(tmp_path)))
    top_level = tmp_path / "config.toml"
    if form in ONLY_2 and containerd_release.series.startswith("1."):
        asked = request(containerd_release.version, top_level=str(top_level))
        with pytest.raises(ConfigError, match="config version 3 is newer"):
            ADAPTER.edits(asked, tree(tmp_path))
        return
    before = dumped(containerd_release, top_level)
    asked = request(
        containerd_release.version if known else None,
        enable_cdi=True,
        effective=before,
        top_level=str(top_level),
        drop_in=str(tmp_path / "conf.d/99-nvidia.toml"),
    )
    edits = ADAPTER.edits(asked, tree(tmp_path)).edits
    for edit in edits:
        Path(edit.path).parent.mkdir(exist_ok=True)
        Path(edit.path).write_bytes(edit.after or b"")
    after = dumped(containerd_release, top_level)
    assert ADAPTER.unintended(before, after, asked) == ()
    assert {each.name: after.handlers[each.name].binary_path for each in HANDLERS} == {
        each.name: each.binary_path for each in HANDLERS
    }
    assert after.default == "nvidia"
    again = replace(asked, effective=after)
    assert ADAPTER.edits(again, tree(tmp_path)).edits == ()
    for edit in edits:
        assert merge3(edit.before, edit.after, edit.after, edit.format, path=edit.path) == (
            edit.before
        )
