"""A fault at every step of a setup, an upgrade, a repair and a revert, files and signals alike.

At each moment the engine can load what is on disk; afterwards, by itself or after the next start's
recovery, the host is exactly as before or exactly as it should be, and nothing is left over.
"""

from __future__ import annotations

import errno
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime_configs.model import Version
from tests.fakes.faulty_syscalls import CrashPoint
from tests.faults.node_host import (
    CONFIG,
    FaultHost,
    Saved,
    Tree,
    difference,
    journal_holds_ours,
)
from tests.faults.steps import ERRORS, SHORT, Fault, Steps, points
from toolkit.errors import ExitCode, ToolkitError

V1 = Version(major=1, minor=7)
V2 = Version(major=2, minor=1)
ADMIN = b"""# by hand
version = 2
oom_score = 0

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.example/pause:3" # theirs

[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "crun"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun.options]
    BinaryName = "/usr/bin/crun"
    SystemdCgroup = true
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One act: how the host looks before it, and what is done."""

    make: Callable[[Path], FaultHost]
    act: Callable[[FaultHost, Steps | None], object]
    reverts: bool = False
    told: bool = True
    """False with restart mode ``none``."""


def in_place(directory: Path) -> FaultHost:
    return FaultHost(directory, version=V1, config=ADMIN)


def with_drop_in(directory: Path) -> FaultHost:
    return FaultHost(directory, version=V2, config=ADMIN)


def without_config(directory: Path) -> FaultHost:
    return FaultHost(directory, version=V2, config=None)


def never_told(directory: Path) -> FaultHost:
    return FaultHost(directory, version=V1, config=ADMIN, arguments=("--restart-mode=none",))


def set_up_before(make: Callable[[Path], FaultHost]) -> Callable[[Path], FaultHost]:
    def made(directory: Path) -> FaultHost:
        host = make(directory)
        host.set_up()
        return host

    return made


def upgraded(directory: Path) -> FaultHost:
    host = with_drop_in(directory)
    host.set_up()
    host.release = "2.0.0"
    host.arguments = ("--nvidia-runtime-name=gpu", "--set-as-default=false")
    return host


def upgraded_in_place(directory: Path) -> FaultHost:
    host = in_place(directory)
    host.set_up()
    host.release = "2.0.0"
    host.arguments = ("--nvidia-runtime-name=gpu",)
    return host


def drifted(directory: Path) -> FaultHost:
    host = in_place(directory)
    host.set_up()
    now = host.read(CONFIG) or b""
    host.place(CONFIG, now.replace(b'"nvidia"', b'"crun"', 1) + b"\n[debug]\n  level = 'x'\n")
    (host.install_dir / "toolkit/nvidia-ctk").unlink()
    host.engine.boot()
    return host


def edited(directory: Path) -> FaultHost:
    host = with_drop_in(directory)
    host.set_up()
    host.place(CONFIG, (host.read(CONFIG) or b"") + b"\n[debug]\n  level = 'x'\n")
    return host


def act_set_up(host: FaultHost, steps: Steps | None) -> object:
    return host.set_up(steps)


def act_repair(host: FaultHost, steps: Steps | None) -> object:
    return host.set_up(steps, repair=True)


def act_revert(host: FaultHost, steps: Steps | None) -> object:
    return host.revert(steps)


CASES = {
    "setup in place": Case(make=in_place, act=act_set_up),
    "setup with a drop-in": Case(make=with_drop_in, act=act_set_up),
    "setup without a config": Case(make=without_config, act=act_set_up),
    "setup with restart mode none": Case(make=never_told, act=act_set_up, told=False),
    "upgrade with a drop-in": Case(make=upgraded, act=act_set_up),
    "upgrade in place": Case(make=upgraded_in_place, act=act_set_up),
    "repair": Case(make=drifted, act=act_repair),
    "revert in place": Case(make=set_up_before(in_place), act=act_revert, reverts=True),
    "revert of a drop-in": Case(make=set_up_before(with_drop_in), act=act_revert, reverts=True),
    "revert to no config": Case(make=set_up_before(without_config), act=act_revert, reverts=True),
    "revert after an edit": Case(make=edited, act=act_revert, reverts=True),
    "revert with restart mode none": Case(
        make=set_up_before(never_told), act=act_revert, reverts=True, told=False
    ),
}


@dataclass(slots=True)
class Bench:
    """A case with its host, kept as it is before the act and as the act leaves it."""

    case: Case
    host: FaultHost
    saved: Saved
    before: Tree
    after: Tree
    pristine: Tree
    """What the revert leaves in the end."""
    length: int

    @classmethod
    def of(cls, case: Case, directory: Path) -> Bench:
        host = case.make(directory)
        saved, before = host.save("before"), host.tree()
        steps = Steps(watch=host.check_loadable)
        case.act(host, steps)
        after = host.tree()
        host.revert()
        pristine = host.tree()
        return cls(case, host, saved, before, after, pristine, len(steps.done))

    def run(self, steps: Steps) -> ToolkitError | CrashPoint | None:
        """Do the act from the same beginning, with a fault; return how it ended."""
        self.saved.restore()
        if steps.fault != errno.EBUSY:
            # EBUSY says that the file is a mount: it is then written in place, the journal is safe.
            steps.watch = self.host.check_loadable
        try:
            self.case.act(self.host, steps)
        except (ToolkitError, CrashPoint) as error:
            return error
        return None

    def settle(self, steps: Steps | None = None) -> None:
        """What the next start does first; a revert is begun again."""
        steps = steps or Steps()
        steps.watch = self.host.check_loadable
        if self.case.reverts:
            self.host.revert(steps)
        else:
            self.host.recover(steps)

    def check_settled(self, where: str) -> None:
        """Exactly before or exactly after, and nothing else."""
        host = self.host
        found = host.tree()
        wanted = (self.after,) if self.case.reverts else (self.before, self.after)
        assert found in wanted, f"{where}: {[difference(found, each) for each in wanted]}"
        assert not host.leftovers(), where
        assert not journal_holds_ours(host), where
        assert host.engine.up_to_date() or not self.case.told, where

    def check_way_back(self, where: str) -> None:
        """A revert still leads to the very beginning."""
        self.host.revert()
        found = self.host.tree()
        assert found == self.pristine, f"{where}: {difference(found, self.pristine)}"


FORMS = pytest.mark.parametrize(
    "wanted", [SHORT, pytest.param(None, marks=pytest.mark.long)], ids=["short", "full"]
)
EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@EACH
@FORMS
def test_a_kill_at_any_step_is_settled_by_the_next_start(
    case: Case, wanted: int | None, tmp_path: Path, counts: Counter[str]
) -> None:
    bench = Bench.of(case, tmp_path)
    for at in points(bench.length, wanted):
        steps = Steps(at=at)
        assert isinstance(bench.run(steps), CrashPoint)
        where = f"killed before step {at}, {steps.done[-1]}"
        bench.settle()
        bench.check_settled(where)
        bench.check_way_back(where)
        counts["kills in process"] += 1


@EACH
@FORMS
def test_an_error_at_any_step_leaves_the_host_as_it_was_or_is_told_and_settled(
    case: Case, wanted: int | None, tmp_path: Path, counts: Counter[str]
) -> None:
    bench = Bench.of(case, tmp_path)
    for at, fault in faults(bench.length, wanted):
        steps = Steps(at=at, fault=fault)
        error = bench.run(steps)
        where = f"error {fault} at step {at}: {error}"
        if fault == errno.EBUSY and steps.done[at] == "rmdir":
            continue  # somebody's mount point now: it stays
        check_error(bench, error, where)
        bench.settle()
        bench.check_settled(where)
        assert error is not None or bench.host.tree() == bench.after, where
        bench.check_way_back(where)
        counts["errors in process"] += 1


def faults(length: int, wanted: int | None) -> Iterator[tuple[int, Fault]]:
    """Yield each step with every error; in the short form with one, in turn."""
    if wanted is None:
        yield from itertools.product(range(length), ERRORS)
    else:
        yield from zip(points(length, wanted), itertools.cycle(ERRORS))


def check_error(bench: Bench, error: ToolkitError | CrashPoint | None, where: str) -> None:
    """One error alone never leaves a setup that can't be undone."""
    assert not isinstance(error, CrashPoint)
    if error is not None and not bench.case.reverts:
        assert error.exit_code is ExitCode.FAILED, where
        found = bench.host.tree()
        assert found == bench.before, f"{where}: {difference(found, bench.before)}"
        assert bench.host.engine.up_to_date() or not bench.case.told, where


@EACH
@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS], ids=["full", "read-only"])
@FORMS
def test_a_disk_that_stays_full_or_read_only_is_settled_once_it_can_be_written_again(
    case: Case, fault: int, wanted: int | None, tmp_path: Path, counts: Counter[str]
) -> None:
    bench = Bench.of(case, tmp_path)
    for at in points(bench.length, wanted and wanted // 2):
        steps = Steps(at=at, fault=fault, lasting=True)
        error = bench.run(steps)
        where = f"{errno.errorcode[fault]} from step {at} on: {error}"
        assert not isinstance(error, CrashPoint)
        bench.host.check_loadable()
        bench.settle()
        bench.check_settled(where)
        bench.check_way_back(where)
        counts["lasting errors in process"] += 1


@EACH
@FORMS
def test_a_kill_in_the_recovery_from_a_kill_is_settled_by_the_start_after_it(
    case: Case, wanted: int | None, tmp_path: Path, counts: Counter[str]
) -> None:
    bench = Bench.of(case, tmp_path)
    for at in points(bench.length, wanted and 4):
        bench.run(Steps(at=at))
        counting = Steps()
        bench.settle(counting)
        for again in points(len(counting.done), wanted and 3):
            bench.run(Steps(at=at))
            where = f"killed before step {at}, then before step {again} of the recovery"
            try:
                bench.settle(Steps(at=again))
            except CrashPoint:
                counts["kills in a recovery"] += 1
            bench.settle()
            bench.check_settled(where)
            bench.check_way_back(where)
