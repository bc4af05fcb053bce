"""How repairs are spaced, and what the keeper does about what it sees meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from testbed.supervised import wait_for
from tests.kept import RESIDENT, Kept
from toolkit.daemon.handover import VARIABLE, install_dir_of
from toolkit.daemon.keeper_state import (
    LONGEST_REST,
    QUICK_REPAIRS,
    Counters,
    Watch,
    taken_over,
)
from toolkit.daemon.observe import signature
from toolkit.payload.cdi import SpecState

INTERVAL = 30.0


def rests(moments: list[float]) -> list[float]:
    found, resident = [], RESIDENT
    for moment in moments:
        resident = resident.after_repair(moment, INTERVAL)
        found.append(resident.not_before - moment)
    return found


def test_the_first_repairs_are_made_at_once_and_each_later_one_waits_twice_as_long() -> None:
    found = rests([1000.0 + 10 * number for number in range(10)])
    assert found[:QUICK_REPAIRS] == [0.0] * QUICK_REPAIRS
    assert found[QUICK_REPAIRS:] == [60.0, 120.0, 240.0, 480.0, *[LONGEST_REST] * 3]


def test_after_a_quiet_time_repairs_are_made_at_once_again() -> None:
    busy = [1000.0 + 10 * number for number in range(5)]
    last = rests(busy)[-1]
    assert last > 0
    assert rests([*busy, busy[-1] + last + LONGEST_REST + 1])[-1] == 0.0
    assert rests([*busy, busy[-1] + last + LONGEST_REST - 1])[-1] > 0


def test_a_repair_that_fails_is_tried_again_later_each_time_and_one_that_works_settles_it() -> None:
    resident, waits = RESIDENT, []
    for _ in range(6):
        resident = resident.after_failure(500.0, INTERVAL, undone=False)
        assert resident.retry_at is not None
        waits.append(resident.retry_at - 500.0)
    assert waits == [60.0, 120.0, 240.0, 480.0, LONGEST_REST, LONGEST_REST]
    settled = resident.after_repair(600.0, INTERVAL)
    assert (settled.failures, settled.retry_at) == (0, None)


def test_only_a_change_that_was_taken_back_counts_as_a_rollback() -> None:
    resident = RESIDENT.after_failure(1.0, INTERVAL, undone=False)
    assert resident.counters == Counters()
    assert resident.after_failure(2.0, INTERVAL, undone=True).counters.rollbacks == 1


def test_a_spec_that_cant_be_made_is_tried_again_later_each_time_and_said_once() -> None:
    resident, waits = RESIDENT, []
    failed = SpecState(failure="nvidia-ctk: no")
    for _ in range(5):
        resident = resident.after_following(failed)
        waits.append(resident.cdi_retry(INTERVAL))
    assert waits == [60.0, 120.0, 240.0, 480.0, LONGEST_REST]
    assert resident.cdi_fault == "nvidia-ctk: no"
    made = resident.after_following(SpecState(changed=True))
    assert (made.cdi_retry(INTERVAL), made.cdi_fault) == (0.0, "")
    assert made.counters.cdi_specs == 1


class Idle:
    """The keeper, that becomes a program which prints why."""

    def __init__(self, directory: Path, *, interval: float, rest: float, retry: float) -> None:
        self.ready = directory / "ready"
        self.ready.write_text("here")
        self.watched = directory / "config.toml"
        self.watched.write_text("ours")
        watch = Watch(
            interval=interval,
            rest=rest,
            retry=retry,
            ready=True,
            ready_file=str(self.ready),
            files=((str(self.watched), signature(str(self.watched))),),
        )
        self.began = time.monotonic()
        self._kept = Kept(watch)
        self.process = self._kept.process

    def takes_signals_its_own_way(self) -> bool:
        """Tell whether its first line has run."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return f"SigBlk:\t{0:016x}" not in status

    def woken(self) -> tuple[str, float]:
        """Return why it came back, and after how many seconds."""
        reason, _ = self._kept.woken()
        return reason, time.monotonic() - self.began


def test_a_difference_is_told_at_once_and_looked_into_once_the_rest_is_over(tmp_path: Path) -> None:
    process = Idle(tmp_path, interval=0.05, rest=1.5, retry=-1.0)
    process.watched.write_text("theirs")
    wait_for(lambda: not process.ready.exists(), "it to be not ready")
    assert process.process.poll() is None
    reason, seconds = process.woken()
    assert reason == f"file {process.watched}"
    assert seconds >= 1.5


def test_what_was_seen_and_went_by_in_the_rest_is_looked_into_all_the_same(tmp_path: Path) -> None:
    process = Idle(tmp_path, interval=0.05, rest=1.0, retry=-1.0)
    wait_for(process.takes_signals_its_own_way, "the keeper")
    time.sleep(0.3)
    process.ready.unlink()
    assert process.woken()[0] == f"file {process.ready}"


@pytest.mark.parametrize("retry", [0.0, 0.6])
def test_a_repair_that_failed_is_tried_again_in_its_time(tmp_path: Path, retry: float) -> None:
    process = Idle(tmp_path, interval=0.05, rest=60.0, retry=retry)
    reason, seconds = process.woken()
    assert reason == "an earlier repair that failed"
    assert seconds >= retry


def passed_on_by_0_1_0(pid: int) -> dict[str, str]:
    """Return the environment in which the keeper of 0.1.0 executes the daemon."""
    record = {
        **msgspec.to_builtins(RESIDENT),
        "peer": "812",
        "unverified": "the engine is mute",
        "known": [["/etc/containerd/config.toml", "100644:1:2:3"]],
        "pid": pid,
        "install_dir": "/usr/local/nvidia",
        "woken": "",
    }
    for later in ("verified_process", "why_not_ready"):
        del record[later]
    return {
        VARIABLE: json.dumps(record),
        "NVIDIA_TOOLKIT_WOKEN": "signal",
        "NVIDIA_TOOLKIT_FEATURE_FILE": "",
        "NVIDIA_TOOLKIT_START": "0\n/usr/lib/python3",
    }


def test_a_daemon_of_0_1_0_that_is_upgraded_while_it_is_resident_goes_on_with_its_lock() -> None:
    environment = {**passed_on_by_0_1_0(os.getpid()), "PATH": "/bin"}
    found = taken_over(environment)
    assert found is not None
    assert (found.resident.lock_fd, found.resident.lock_path) == (3, "/run/toolkit.pid")
    assert (found.woken, found.resident.why_not_ready) == ("signal", "the engine is mute")
    assert (found.watch.peer, found.watch.files) == (
        "812",
        (("/etc/containerd/config.toml", "100644:1:2:3"),),
    )
    assert environment == {"PATH": "/bin"}


def test_a_record_of_0_1_0_that_a_parent_left_in_the_environment_is_a_first_start() -> None:
    assert taken_over(passed_on_by_0_1_0(os.getppid())) is None


def test_a_resident_daemon_of_0_1_0_is_known_by_its_install_directory() -> None:
    record = '{"pid":\'$$\',"install_dir":"/usr/local/nvidia"}'
    start = f"exec env {VARIABLE}='{record}' cat"
    with subprocess.Popen(
        ["/bin/sh", "-c", start], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"x")
        assert process.stdout.read(1) == b"x"
        assert install_dir_of(process.pid) == "/usr/local/nvidia"
