"""What the keeper costs, and what it notices and repairs."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from testbed.containerd import RELEASES, ContainerdRelease, RealContainerd
from testbed.program import Installer, snapshot
from testbed.supervised import wait_for
from tests.engine.resident import (
    PATIENT,
    events,
    installer_of,
    memory_of,
    served,
    wait_idle,
    wait_said,
)
from toolkit.daemon.keeper_state import QUICK_REPAIRS

pytestmark = pytest.mark.engine

MOST_RESIDENT = 10 << 10
MOST_PRIVATE_DIRTY = 4 << 10
"""KiB."""
BY_DROP_IN = [each for each in RELEASES if each.series.startswith("2.")]
IN_PLACE = [each for each in RELEASES if each.series == "1.7"]
REPAIRED = " repaired "


@pytest.fixture
def installer(containerd: RealContainerd) -> Iterator[Installer]:
    program = installer_of(containerd)
    yield program
    program.end()


def one(releases: list[ContainerdRelease]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "containerd_release", releases, ids=lambda each: f"containerd-{each.series}"
    )


def by_hand(config: Path) -> None:
    config.write_text("version = 2\noom_score = -3\n")


def by_rename(config: Path) -> None:
    beside = config.with_name("config.new")
    beside.write_text("version = 2\n# rendered again\n")
    beside.rename(config)


def by_truncation(config: Path) -> None:
    os.truncate(config, 0)


def by_deletion(config: Path) -> None:
    config.unlink()


def with_its_time_set_back(config: Path) -> None:
    state = config.stat()
    content = config.read_bytes()
    ours, theirs = b'default_runtime_name = "nvidia"', b'default_runtime_name = "runc"  '
    config.write_bytes(content.replace(ours, theirs))
    os.utime(config, ns=(state.st_atime_ns, state.st_mtime_ns))


WAYS = (by_hand, by_rename, by_truncation, by_deletion, with_its_time_set_back)
KEPT = (by_hand, by_rename, by_truncation)


@pytest.mark.parametrize("rewrite", WAYS, ids=lambda way: str(way.__name__))
@one(IN_PLACE)
def test_a_config_that_somebody_rewrote_is_repaired(
    containerd: RealContainerd, installer: Installer, rewrite: Callable[[Path], None]
) -> None:
    containerd.start()
    expected = containerd.config.read_bytes()
    installer.start()
    wait_idle(installer)
    pid = containerd.process.pid
    rewrite(containerd.config)
    if rewrite in KEPT:
        expected = containerd.config.read_bytes()
    wait_said(installer, REPAIRED)
    wait_idle(installer)
    containerd.wait_ready()
    assert served(containerd, installer)
    # Only the first leaves something in the file that the engine has to load.
    assert (containerd.process.pid == pid) is (rewrite is not by_hand), installer.log()
    assert installer.stop() == 0, installer.log()
    containerd.wait_ready()
    if rewrite is not with_its_time_set_back:
        assert containerd.config.read_bytes() == expected


SITE = """version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "registry.example/pause:3.9" # mirrored
max_container_log_line_size = 32768
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = true
"""


def test_a_lost_config_comes_back_with_all_that_the_site_had_set(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.config.write_text(SITE)
    containerd.start()
    installer.start()
    wait_idle(installer)
    ours = containerd.config.read_bytes()
    containerd.config.unlink()
    wait_said(installer, REPAIRED)
    wait_idle(installer)
    assert containerd.config.read_bytes() == ours
    assert served(containerd, installer)
    handlers = containerd.cri.served().config["containerd"]["runtimes"]
    assert handlers["nvidia"]["options"]["SystemdCgroup"] is True
    assert "lines restored as before, not shown" in installer.log()
    assert not [line for line in SITE.splitlines() if line and f"+{line}" in installer.log()]
    assert installer.stop() == 0, installer.log()
    assert containerd.config.read_text() == SITE


@one(BY_DROP_IN)
def test_a_drop_in_that_was_deleted_comes_back_without_a_reload(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    before = snapshot(containerd.config.parent)
    installer.start()
    wait_idle(installer)
    pid = containerd.process.pid
    drop_in = containerd.config.parent / "conf.d/99-nvidia.toml"
    ours = drop_in.read_bytes()
    drop_in.unlink()
    wait_said(installer, REPAIRED)
    wait_idle(installer)
    assert drop_in.read_bytes() == ours
    assert served(containerd, installer)
    assert containerd.process.pid == pid
    assert events(installer, "no reload: the files are restored") == 1
    assert installer.stop() == 0, installer.log()
    assert snapshot(containerd.config.parent) == before


@one(BY_DROP_IN)
def test_an_engine_that_somebody_restarted_onto_an_edit_is_reloaded_though_it_serves_all(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    installer.start()
    wait_idle(installer)
    drop_in = containerd.config.parent / "conf.d/99-nvidia.toml"
    ours = drop_in.read_bytes()
    edited = ours.replace(b"BinaryName", b"Root = '/run/theirs'\nBinaryName")
    assert edited != ours
    containerd.process.hold()
    containerd.process.kill(signal.SIGKILL)
    drop_in.write_bytes(edited)
    containerd.process.release()
    wait_said(installer, REPAIRED)
    wait_idle(installer)
    assert b"theirs" not in drop_in.read_bytes()
    assert events(installer, "no reload") == 0
    handlers = containerd.cri.served().config["containerd"]["runtimes"]
    assert "Root" not in handlers["nvidia"]["options"]


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("nvidia-container-runtime", "removed"),
        ("nvidia-container-runtime", "damaged"),
        ("nvidia-container-cli.real", "removed"),
        ("nvidia-container-cli.real", "damaged"),
        # Not damaged: an administrator's edit of it is kept.
        (".config/nvidia-container-runtime/config.toml", "removed"),
    ],
)
@one(BY_DROP_IN)
def test_a_file_of_the_payload_is_put_right_without_a_reload(
    containerd: RealContainerd, installer: Installer, name: str, way: str
) -> None:
    containerd.start()
    installer.start()
    wait_idle(installer)
    pid = containerd.process.pid
    file = installer.install_dir / "toolkit" / name
    content = file.read_bytes()
    if way == "removed":
        file.unlink()
    else:
        with file.open("r+b") as opened:
            opened.write(b"damaged")
    wait_said(installer, REPAIRED)
    wait_idle(installer)
    assert file.read_bytes() == content
    assert containerd.process.pid == pid


@one(IN_PLACE)
def test_an_engine_that_came_back_without_the_handlers_is_set_up_again(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    installer.start()
    wait_idle(installer)
    ours = containerd.config.read_bytes()
    containerd.process.hold()
    containerd.process.kill(signal.SIGKILL)
    containerd.config.write_text("version = 2\n")
    containerd.process.release()
    wait_said(installer, REPAIRED)
    wait_idle(installer)
    assert containerd.config.read_bytes() == ours
    assert served(containerd, installer)


@one(IN_PLACE)
def test_an_engine_that_came_back_as_it_was_is_left_alone(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    installer.start()
    wait_idle(installer)
    first = containerd.process.pid
    containerd.process.kill(signal.SIGKILL)
    wait_said(installer, "nothing differs")
    wait_idle(installer)
    assert len([each for each in containerd.process.events() if each.event == "spawned"]) == 3, (
        "the start, the setup's reload, and this one"
    )
    assert containerd.process.pid != first
    assert events(installer, REPAIRED) == 0


@one(IN_PLACE)
def test_an_edit_without_a_meaning_reloads_nothing_and_is_kept(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    installer.start()
    wait_idle(installer)
    pid = containerd.process.pid
    edited = b"# reviewed by the platform team\n" + containerd.config.read_bytes()
    containerd.config.write_bytes(edited)
    wait_said(installer, "nothing differs")
    wait_idle(installer)
    assert containerd.process.pid == pid
    assert containerd.config.read_bytes() == edited
    looks = events(installer, "something differs")
    time.sleep(1)
    assert events(installer, "something differs") == looks
    assert installer.stop() == 0, installer.log()
    assert containerd.config.read_bytes().startswith(b"# reviewed by the platform team\n")


@one(IN_PLACE)
def test_an_edit_of_others_beside_ours_is_kept_by_repair_and_revert(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    installer.start()
    wait_idle(installer)
    containerd.config.write_text("version = 2\noom_score = -5 # theirs\n")
    wait_said(installer, REPAIRED)
    wait_idle(installer)
    assert b"oom_score = -5 # theirs\n" in containerd.config.read_bytes()
    assert served(containerd, installer)
    assert installer.stop() == 0, installer.log()
    assert containerd.config.read_text() == "version = 2\noom_score = -5 # theirs\n"


@one(IN_PLACE)
def test_the_log_shows_the_repaired_difference_without_any_secret(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    installer.start()
    wait_idle(installer)
    content = containerd.config.read_text()
    with_passwords = (
        '[plugins."io.containerd.grpc.v1.cri".registry.configs."r.example".auth]\n'
        'username = "node"\npassword = "hunter2"\n'
        '[plugins."io.containerd.grpc.v1.cri".registry.configs."q.example"]\n'
        'auth = {username = "node", password = "hunter3"}\n'
    )
    containerd.config.write_text(
        re.sub('default_runtime_name = "nvidia"', "", content) + with_passwords
    )
    wait_said(installer, REPAIRED)
    wait_idle(installer)
    log = installer.log()
    assert '+default_runtime_name = \\"nvidia\\"' in re.sub(r"\+ +", "+", log)
    assert "hunter" not in log
    assert "hunter2" in containerd.config.read_text()


@one(IN_PLACE)
def test_somebody_who_writes_against_us_is_answered_more_and_more_slowly(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    installer.start()
    wait_idle(installer)
    moments = []
    for number in range(QUICK_REPAIRS + 3):
        containerd.config.write_text("version = 2\n")
        wait_said(installer, REPAIRED, number + 1)
        moments.append(time.monotonic())
    containerd.config.write_text("version = 2\n")
    wait_for(lambda: not installer.ready_file.exists(), "it to be not ready")
    *_, second, third = (later - one for one, later in pairwise(moments))
    # A rest of 2 s, then one of 4 s, seen from here a moment later or earlier.
    assert second > 1.5, installer.log()
    assert third > 3, installer.log()
    assert installer.stop() == 0, installer.log()


@one(IN_PLACE)
def test_an_interval_of_0_repairs_nothing(containerd: RealContainerd, installer: Installer) -> None:
    containerd.start()
    installer.start("--reconcile-interval=0")
    wait_idle(installer)
    containerd.config.write_text("version = 2\n# theirs\n")
    time.sleep(1.5)
    assert containerd.config.read_text() == "version = 2\n# theirs\n"
    assert events(installer, "something differs") == 0
    assert installer.stop() == 0, installer.log()
    assert containerd.config.read_text() == "version = 2\n# theirs\n"


def holds_the_figures(installer: Installer) -> tuple[int, int]:
    assert installer.process is not None
    memory = memory_of(installer.process.pid)
    assert memory.resident <= MOST_RESIDENT
    assert memory.private_dirty <= MOST_PRIVATE_DIRTY
    return memory.resident, memory.private_dirty


@pytest.mark.timeout(900)
@pytest.mark.parametrize("repairs", [10, pytest.param(100, marks=pytest.mark.long)])
@one(BY_DROP_IN)
def test_memory_is_small_after_the_set_up_and_does_not_grow_with_repairs(
    containerd: RealContainerd, installer: Installer, repairs: int
) -> None:
    installer.program = PATIENT
    containerd.start()
    installer.start()
    wait_idle(installer)
    resident, dirty = holds_the_figures(installer)
    for number in range(1, repairs + 1):
        containerd.config.write_text(f"version = 2\noom_score = -{number % 9}\n")
        wait_said(installer, REPAIRED, number)
    wait_idle(installer)
    resident_after, dirty_after = holds_the_figures(installer)
    assert resident_after <= resident + 256, "KiB; a page or two more or less at each exec"
    assert dirty_after <= dirty + 256


@one(BY_DROP_IN)
def test_waiting_costs_no_time_of_the_processor(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    installer.start()
    wait_idle(installer)
    before = processor_seconds(installer)
    time.sleep(4)
    spent = processor_seconds(installer) - before
    began = os.times()
    assert installer.run("--version").returncode == 0
    ended = os.times()
    start = sum(ended[2:4]) - sum(began[2:4])
    assert spent < start, "20 looks cost less than one start of the program"


def processor_seconds(installer: Installer) -> float:
    assert installer.process is not None
    fields = Path(f"/proc/{installer.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
