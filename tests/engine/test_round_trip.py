"""Setup and revert against each real containerd, for every form of config that it knows."""

from __future__ import annotations

import os
import signal
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from testbed.containerd import RELEASES, ContainerdRelease, RealContainerd
from testbed.program import HANDLERS, Installer, snapshot
from toolkit.errors import ExitCode

pytestmark = pytest.mark.engine

COMMENTED_VERSION_2 = b"""\
# kept by the platform team
version = 2   # since 2021

oom_score = -10

[plugins]
  # pods need this one
  [plugins."io.containerd.grpc.v1.cri"]
    max_concurrent_downloads = 7   # slow link
    [plugins."io.containerd.grpc.v1.cri".containerd]
      snapshotter = "overlayfs"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
        runtime_type = "io.containerd.runc.v2"
        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
          SystemdCgroup = false  # cgroupfs here
          NoNewKeyring = true

# the end"""
VERSION_3 = b"""\
version = 3
# images come from the mirror
[plugins.'io.containerd.cri.v1.images']
  max_concurrent_downloads = 7
[plugins.'io.containerd.cri.v1.runtime'.containerd]
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
    NoNewKeyring = true
"""
VERSION_1 = b"""\
oom_score = -7
# the old form
[plugins.cri]
  max_concurrent_downloads = 7
  [plugins.cri.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""
IMPORTING = b"""\
version = 2
imports = ["ETC/admin/*.toml"]
oom_score = -9
"""
WITH_A_DEFAULT = b"""\
version = 2
[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "runc"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun]
    runtime_type = "io.containerd.runc.v2"
"""
ADMIN = b"""\
version = 2
# the registry of this site
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"
"""


@dataclass(frozen=True, slots=True)
class Given:
    """A config that the engine starts with."""

    content: bytes | None
    imported: bytes | None = None
    series: tuple[str, ...] = ("1.6", "1.7", "2.1")


GIVEN = {
    "empty": Given(b""),
    "commented version 2": Given(COMMENTED_VERSION_2),
    "version 3": Given(VERSION_3, series=("2.1",)),
    "version 1": Given(VERSION_1, series=("1.6", "1.7")),
    "the engine's own default": Given(b"default"),
    "version 2 with an admin's import": Given(IMPORTING, imported=ADMIN),
}


def knows(release: ContainerdRelease, given: Given) -> bool:
    return release.series in given.series


@pytest.fixture
def installer(containerd: RealContainerd) -> Iterator[Installer]:
    """The program, told of this engine by the four variables of the README and a drop-in."""
    etc = containerd.config.parent
    program = Installer(
        containerd.directory,
        {
            "RUNTIME": "containerd",
            "CONTAINERD_CONFIG": str(containerd.config),
            "CONTAINERD_SOCKET": str(containerd.socket),
            "RUNTIME_DROP_IN_CONFIG": str(etc / "conf.d/99-nvidia.toml"),
        },
    )
    yield program
    program.end()


def prepare(containerd: RealContainerd, given: Given) -> None:
    """Put the given files in place, with a mode that has to be kept."""
    containerd.config.unlink(missing_ok=True)
    content = given.content
    if content == b"default":
        content = containerd.release.config_default()
        content = with_paths(content, containerd)
    if content is not None:
        # 1.6 takes a relative pattern as relative to its own working directory.
        etc = str(containerd.config.parent).encode()
        containerd.config.write_bytes(content.replace(b"ETC", etc))
        containerd.config.chmod(0o640)
        os.chown(containerd.config, 0, 7)
    if given.imported is not None:
        admin = containerd.config.parent / "admin"
        admin.mkdir()
        (admin / "site.toml").write_bytes(given.imported)


def with_paths(content: bytes, containerd: RealContainerd) -> bytes:
    """Return the engine's default config without the places that are its flags' here."""
    drop = ("root =", "state =")
    lines = content.decode().splitlines(keepends=True)
    text = "".join(line for line in lines if not line.startswith(drop))
    return text.replace("/run/containerd", str(containerd.state)).encode()


def effective(containerd: RealContainerd) -> dict[str, object]:
    """Return the engine's dump with one key a leaf, without what a setup is meant to change."""
    dump = (
        containerd.dump()
        if containerd.config.exists()
        else tomllib.loads(containerd.release.config_default().decode())
    )
    return {path: value for path, value in leaves(dump, "") if not meant(path)}


def leaves(value: object, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from leaves(each, f"{path}/{key}")
    else:
        yield path, value


def meant(path: str) -> bool:
    names = path.split("/")
    ours = "runtimes" in names and names[names.index("runtimes") + 1] in HANDLERS
    return ours or names[-1] in ("default_runtime_name", "imports") or names[1] == "version"


@pytest.mark.parametrize(
    ("containerd_release", "name"),
    [(release, name) for release in RELEASES for name in GIVEN if knows(release, GIVEN[name])],
    indirect=["containerd_release"],
    ids=lambda each: each if isinstance(each, str) else each.series,
)
def test_a_set_up_serves_the_handlers_and_its_end_leaves_every_byte_as_it_was(
    containerd: RealContainerd, installer: Installer, name: str
) -> None:
    prepare(containerd, GIVEN[name])
    containerd.start()
    etc = containerd.config.parent
    before, settings_before = snapshot(etc), effective(containerd)
    default_before = containerd.cri.served().default

    installer.start()
    installer.wait_ready()
    served = containerd.cri.served()
    assert {key: served.handlers.get(key) for key in HANDLERS} == installer.binaries()
    assert served.default == "nvidia"
    assert "runc" in served.handlers
    assert effective(containerd) == settings_before

    assert installer.stop() == 0, installer.log()
    containerd.wait_ready()
    served = containerd.cri.served()
    assert not set(served.handlers) & set(HANDLERS)
    assert served.default == default_before
    assert snapshot(etc) == before
    assert not installer.install_dir.exists()
    assert not installer.pid_file.parent.exists()


def test_a_container_runs_through_the_handler_and_earlier_ones_live_on(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    containerd.import_image()
    earlier = containerd.cri.run_pod("runc")
    state = containerd.cri.container_state(earlier)

    installer.start()
    installer.wait_ready()
    assert containerd.cri.container_state(earlier) == state
    assert containerd.cri.run_to_end("nvidia", ("/bin/echo", "through nvidia")) == "through nvidia"
    assert containerd.cri.run_to_end("", ("/bin/echo", "by default")) == "by default"
    assert installer.stop() == 0, installer.log()
    containerd.wait_ready()
    assert containerd.cri.container_state(earlier) == state
    containerd.cri.remove_pod(earlier)


def test_the_payload_stays_while_a_container_needs_it_and_goes_afterwards(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    containerd.import_image()
    installer.start()
    installer.wait_ready()
    pod = containerd.cri.run_pod("nvidia")
    assert installer.stop() == 0, installer.log()
    containerd.wait_ready()
    assert Path(installer.binary("nvidia")).exists()
    assert pod.container_id[:12] in installer.log()
    assert containerd.cri.container_state(pod) == 1

    containerd.cri.remove_pod(pod)
    done = installer.run("revert")
    assert done.returncode == 0, done.stderr
    assert not installer.install_dir.exists()


def test_a_second_start_with_nothing_changed_touches_neither_files_nor_engine(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    installer.start("--on-exit=keep")
    installer.wait_ready()
    assert installer.stop() == 0, installer.log()
    pid, files = containerd.process.pid, snapshot(containerd.config.parent, installer.install_dir)
    inode = containerd.config.stat().st_ino

    installer.start()
    installer.wait_ready()
    assert containerd.process.pid == pid
    assert containerd.config.stat().st_ino == inode
    assert snapshot(containerd.config.parent, installer.install_dir) == files
    assert installer.stop() == 0, installer.log()


def test_a_different_handler_name_without_the_default_is_served_and_taken_back(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    before = snapshot(containerd.config.parent)
    installer.start("--runtime-class=gpu", "--set-as-default=false")
    installer.wait_ready()
    served = containerd.cri.served()
    assert served.handlers["gpu"] == str(installer.install_dir / "toolkit/nvidia-container-runtime")
    assert served.default == "runc"
    assert installer.stop(signal.SIGINT) == 0, installer.log()
    assert snapshot(containerd.config.parent) == before


def test_a_default_that_somebody_else_chose_since_stays_and_the_end_is_no_failure(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.config.write_bytes(WITH_A_DEFAULT)
    containerd.start()
    installer.start("--reconcile-interval=0")
    installer.wait_ready()
    now = containerd.config.read_bytes().replace(b'= "nvidia"', b'= "crun"')
    now = now.replace(b'default_runtime_name = "runc"', b'default_runtime_name = "crun"')
    containerd.config.write_bytes(now)
    assert installer.stop() == 0, installer.log()
    containerd.wait_ready()
    assert containerd.cri.served().default == "crun"
    assert containerd.config.read_bytes() == WITH_A_DEFAULT.replace(b'= "runc"', b'= "crun"')


def test_a_file_that_nobody_can_read_keeps_the_set_up_and_the_end_says_so(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    before = snapshot(containerd.config.parent)
    installer.start("--reconcile-interval=0")
    installer.wait_ready()
    good = containerd.config.read_bytes()
    containerd.config.write_bytes(good + b"\n[broken\n")
    assert installer.stop() == ExitCode.NOT_RESTORED, installer.log()
    assert f"still in place: {containerd.config}" in installer.log()
    containerd.config.write_bytes(good)
    assert installer.run("revert").returncode == 0
    assert snapshot(containerd.config.parent) == before


def test_plan_shows_the_change_and_makes_none(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    before = snapshot(containerd.directory, besides=(containerd.root, containerd.state))
    done = installer.run("plan", "--detailed-exitcode")
    assert done.returncode == 5, done.stderr
    assert '+default_runtime_name = "nvidia"' in done.stdout
    assert "\n# reload: yes, " in done.stdout
    assert snapshot(containerd.directory, besides=(containerd.root, containerd.state)) == before


def test_the_release_under_test_is_one_of_the_three_series(
    containerd_release: ContainerdRelease,
) -> None:
    assert containerd_release.version.startswith(containerd_release.series.split(".")[0] + ".")


@pytest.mark.parametrize("containerd_release", RELEASES[-1:], indirect=True, ids=["merging"])
def test_imports_name_a_drop_in_by_its_declared_place_on_the_host(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    etc = containerd.config.parent
    (etc / "conf.d").mkdir()
    seen = containerd.directory / "config-dir.d"
    seen.symlink_to(etc / "conf.d")
    before = snapshot(etc)
    installer.variables = {
        **installer.variables,
        "RUNTIME_DROP_IN_CONFIG": str(seen / "99-nvidia.toml"),
        "RUNTIME_DROP_IN_CONFIG_HOST_PATH": str(etc / "conf.d/99-nvidia.toml"),
    }
    installer.start()
    installer.wait_ready()
    assert (etc / "conf.d/99-nvidia.toml").exists()
    assert str(seen) not in containerd.config.read_text()
    assert containerd.cri.served().default == "nvidia"
    assert installer.stop() == 0, installer.log()
    assert snapshot(etc) == before
