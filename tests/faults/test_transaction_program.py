"""The real program on a real file system, killed and refused at its system calls by strace."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.node_host import difference, leftovers
from tests.faults.program_host import EFFECTS, ProgramHost, effective_calls
from toolkit.errors import ExitCode

pytestmark = [
    pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace"),
    pytest.mark.timeout(1800),
]
KILLED = -signal.SIGKILL
WORKERS = 2
LOOKING = 220
ERRNOS = ("ENOSPC", "EIO", "EROFS", "EACCES", "EBUSY")
FORMS = pytest.mark.parametrize(
    "wanted", [10, pytest.param(None, marks=pytest.mark.long)], ids=["short", "full"]
)


def kill_points(found: Sequence[str], wanted: int | None) -> list[str]:
    """Return so many of them; in the full form every effect, and as many calls in between."""
    if wanted is not None:
        return spread(found, wanted)
    effects = [each for each in found if each.split(":")[0] in EFFECTS.split(",")]
    return [*effects, *spread([each for each in found if each not in effects], LOOKING)]


def spread(found: Sequence[str], wanted: int | None) -> list[str]:
    """Return so many of them, from the first to the last."""
    if wanted is None or wanted >= len(found):
        return list(found)
    return [found[round(each * (len(found) - 1) / (wanted - 1))] for each in range(wanted)]


class Worker:
    """One directory with the program in it, before a setup and after it."""

    def __init__(self, directory: Path) -> None:
        self.host = ProgramHost(directory)
        self.host.keep("before")
        self.before = self.host.tree()
        self.set_up_calls = self._calls(self.host.set_up)
        self.host.keep("after")
        self.after = self.host.tree()
        self.revert_calls = self._calls(self.host.revert)
        assert self.host.tree() == self.before

    def _calls(self, act: Callable[..., subprocess.CompletedProcess[str]]) -> list[str]:
        log = self.host.directory / "listing"
        done = act(log=log)
        assert done.returncode == 0, done.stderr
        return effective_calls(log, self.host.directory)

    def begin(self, name: str) -> None:
        """Start from ``before`` or ``after``."""
        self.host.restore(name)
        shutil.rmtree(self.host.directory / "run")
        (self.host.directory / "run").mkdir()

    def check(self, where: str, wanted: str) -> None:
        """The host is exactly as it was or as it should be, and nothing else is there."""
        found = self.host.tree()
        assert found == getattr(self, wanted), (
            f"{where}: {difference(found, getattr(self, wanted))}"
        )
        assert not leftovers(found), where


def in_parallel(
    tmp_path: Path,
    points: Callable[[Worker], list[str]],
    check: Callable[[Worker, int, str], bool],
) -> int:
    """Check every point, in as many directories as there are processors; return how many."""
    workers = [Worker(tmp_path / str(number)) for number in range(WORKERS)]

    def run(number: int) -> int:
        chosen = points(workers[number])[number::WORKERS]
        done = [check(workers[number], index, point) for index, point in enumerate(chosen)]
        # How often a process looks differs a little from run to run: the last points may not come.
        assert len(done) - sum(done) <= 1 + len(done) // 10
        return sum(done)

    with ThreadPoolExecutor(WORKERS) as pool:
        return sum(pool.map(run, range(WORKERS)))


@FORMS
def test_a_set_up_killed_at_any_system_call_is_settled_by_the_next_start_or_revert(
    wanted: int | None, tmp_path: Path, counts: Counter[str]
) -> None:
    def check(worker: Worker, index: int, point: str) -> bool:
        worker.begin("before")
        done = worker.host.set_up(fault=f"{point}:signal=SIGKILL")
        if done.returncode == 0:
            return False
        where = f"killed at {point}: {done.stderr}"
        assert done.returncode == KILLED, where
        worker.host.check_loadable()
        if index % 2:
            again = worker.host.set_up()
            assert again.returncode == 0, f"{where}: {again.stderr}"
            worker.check(where, "after")
        again = worker.host.revert()
        assert again.returncode == 0, f"{where}: {again.stderr}"
        worker.check(where, "before")
        return True

    counts["kills by strace in a setup"] += in_parallel(
        tmp_path, lambda worker: kill_points(worker.set_up_calls, wanted), check
    )


@FORMS
def test_a_revert_killed_at_any_system_call_is_settled_by_the_next_revert_or_start(
    wanted: int | None, tmp_path: Path, counts: Counter[str]
) -> None:
    def check(worker: Worker, index: int, point: str) -> bool:
        worker.begin("after")
        done = worker.host.revert(fault=f"{point}:signal=SIGKILL")
        if done.returncode == 0:
            return False
        where = f"killed at {point}: {done.stderr}"
        assert done.returncode == KILLED, where
        worker.host.check_loadable()
        if index % 2:
            again = worker.host.set_up()
            assert again.returncode == 0, f"{where}: {again.stderr}"
            worker.host.check_loadable()
        again = worker.host.revert()
        assert again.returncode == 0, f"{where}: {again.stderr}"
        worker.check(where, "before")
        return True

    counts["kills by strace in a revert"] += in_parallel(
        tmp_path, lambda worker: kill_points(worker.revert_calls, wanted), check
    )


@FORMS
@pytest.mark.parametrize("act", ["setup", "revert"])
def test_an_error_of_any_system_call_is_told_in_one_line_and_leaves_nothing_half_done(
    act: str, wanted: int | None, tmp_path: Path, counts: Counter[str]
) -> None:
    errors = itertools.cycle(ERRNOS)

    def check(worker: Worker, index: int, point: str) -> bool:
        del index
        worker.begin("before" if act == "setup" else "after")
        fault = f"{point}:error={next(errors)}"
        run = worker.host.set_up if act == "setup" else worker.host.revert
        done = run(fault=fault)
        where = f"{fault}: exit {done.returncode}: {done.stderr}"
        assert "Traceback" not in done.stderr, where
        assert done.returncode in (ExitCode.DONE, ExitCode.FAILED, ExitCode.NOT_RESTORED), where
        worker.host.check_loadable()
        if done.returncode == ExitCode.FAILED and act == "setup":
            worker.check(where, "before")
        elif done.returncode == ExitCode.DONE and act == "setup":
            again = worker.host.set_up()
            assert again.returncode == 0, f"{where}: {again.stderr}"
            worker.check(where, "after")
        again = worker.host.revert()
        assert again.returncode == 0, f"{where}: {again.stderr}"
        worker.check(where, "before")
        return True

    def points(worker: Worker) -> list[str]:
        calls = worker.set_up_calls if act == "setup" else worker.revert_calls
        return spread([each for each in calls if each.split(":")[0] in EFFECTS.split(",")], wanted)

    counts[f"errors by strace in a {act}"] += in_parallel(tmp_path, points, check)


@pytest.mark.parametrize("begins", ["before", "after"])
def test_a_failed_start_keeps_the_payload_only_where_an_earlier_one_may_be_in_use(
    tmp_path: Path, begins: str
) -> None:
    worker = Worker(tmp_path)
    ready = tmp_path / "run/toolkit-ready"
    listing = tmp_path / "listing"
    worker.begin(begins)
    assert worker.host.set_up(log=listing).returncode == 0
    opened = [each for each in effective_calls(listing, tmp_path) if each.startswith("openat:")]
    errors = []
    # Once more from the end: the number of a call differs a little from run to run.
    for point in reversed(opened[-3:]):
        worker.begin(begins)
        done = worker.host.set_up(fault=f"{point}:error=EBUSY")
        if f"cannot write {ready}" in done.stderr:
            errors.append(done.stderr)
            assert done.returncode == ExitCode.FAILED
            kept = f"kept {worker.host.install_dir}/toolkit: the engine could not be asked"
            assert (kept in done.stderr) == (begins == "after"), done.stderr
            if begins == "before":
                worker.check(done.stderr, "before")
    assert errors


@contextmanager
def small_disk(at: Path, options: str) -> Iterator[None]:
    """Mount a tmpfs, and take it away at the end."""
    at.mkdir(parents=True, exist_ok=True)
    command = ("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(at))
    subprocess.run(command, check=True)
    try:
        yield
    finally:
        undo = ("umount", str(at))
        subprocess.run(undo, check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize(
    "inodes",
    [
        *(6, 9, 17, 36, 40),
        *(pytest.param(each, marks=pytest.mark.long) for each in range(2, 46)),
    ],
)
def test_a_disk_that_fills_up_during_a_set_up_is_left_as_it_was(
    inodes: int, tmp_path: Path, counts: Counter[str]
) -> None:
    host = ProgramHost(tmp_path / "work")
    with small_disk(host.install_dir, f"mode=755,nr_inodes={inodes}"):
        before = host.tree()
        done = host.set_up()
        assert "Traceback" not in done.stderr, done.stderr
        host.check_loadable()
        if done.returncode:
            assert done.returncode == ExitCode.FAILED, done.stderr
            assert "No space left on device" in done.stderr
            assert difference(host.tree(), before) == []
        remount = ("mount", "-o", "remount,nr_inodes=1000", str(host.install_dir))
        subprocess.run(remount, check=True)
        again = host.set_up()
        assert again.returncode == 0, again.stderr
        again = host.revert()
        assert again.returncode == 0, again.stderr
        assert difference(host.tree(), before) == []
    counts["full disks"] += 1


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize("pages", [0, 1])
def test_a_full_disk_of_the_config_alone_is_told_and_left_as_it_was(
    pages: int, tmp_path: Path, counts: Counter[str]
) -> None:
    host = ProgramHost(tmp_path / "work")
    content = host.config.read_bytes()
    with small_disk(host.config.parent, "mode=755,size=64k"):
        host.config.write_bytes(content)
        free = os.statvfs(host.config.parent)
        size = (free.f_bavail - pages) * free.f_frsize
        (host.config.parent / "filler").write_bytes(b"x" * size)
        before = host.tree()
        done = host.set_up()
        if pages == 0:
            assert done.returncode == ExitCode.FAILED
            assert "No space left on device" in done.stderr
            assert difference(host.tree(), before) == []
        else:
            assert done.returncode == 0, done.stderr
        again = host.revert()
        assert again.returncode == 0, again.stderr
        assert difference(host.tree(), before) == []
    counts["full disks"] += 1
