"""What the keeper sees of the driver."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from testbed.supervised import wait_for
from toolkit.host import followed
from toolkit.host.followed import DRIVER_ENTRIES, ENTRIES, NAMED, RETRY, TEXT, Followed, state_of


def known(*entries: str) -> list[tuple[str, str]]:
    return [(each, state_of(each)) for each in entries]


def settle(watch: Followed) -> str:
    def looked() -> bool:
        watch.look()
        return watch.settled

    wait_for(looked, "the change to settle")
    return watch.fault


def test_nothing_that_changes_is_nothing_to_do(tmp_path: Path) -> None:
    (tmp_path / "libcuda.so.1").touch()
    watch = Followed(
        known(
            f"{NAMED}{tmp_path}/libcuda.so.1",
            f"{ENTRIES}{tmp_path}",
            f"{TEXT}{tmp_path}/absent",
            f"{DRIVER_ENTRIES}{tmp_path}/absent",
        )
    )
    for _ in range(3):
        assert watch.look() == followed.LOOK_SECONDS
        assert (watch.fault, watch.settled) == ("", False)


def test_a_named_file_that_goes_is_a_fault_at_the_first_look_and_settles_when_all_is_quiet(
    tmp_path: Path,
) -> None:
    library = tmp_path / "libcuda.so.1"
    library.touch()
    watch = Followed(known(f"{NAMED}{library}", f"{ENTRIES}{tmp_path}"))
    library.unlink()
    assert watch.look() == followed.QUIET_SECONDS
    assert watch.fault == f"the CDI spec names {library}, which is not there"
    assert not watch.settled
    assert settle(watch) == watch.fault


def test_as_long_as_something_changes_it_does_not_settle(tmp_path: Path) -> None:
    watch = Followed(known(f"{ENTRIES}{tmp_path}"))
    end = time.monotonic() + 3 * followed.QUIET_SECONDS
    number = 0
    while time.monotonic() < end:
        number += 1
        (tmp_path / f"nvidia{number}").touch()
        watch.look()
        assert not watch.settled
    assert settle(watch) == f"the driver changed: {tmp_path}"


def test_what_changed_and_is_as_it_was_again_has_to_be_looked_into_all_the_same(
    tmp_path: Path,
) -> None:
    version = tmp_path / "version"
    version.write_text("535")
    watch = Followed(known(f"{TEXT}{version}"))
    version.write_text("550")
    watch.look()
    version.write_text("535")
    assert settle(watch) == f"the driver changed: {version}"


def test_a_file_that_the_spec_named_in_vain_from_the_start_settles_by_a_retry_alone(
    tmp_path: Path,
) -> None:
    missing = f"{NAMED}{tmp_path}/absent"
    watch = Followed(known(missing))
    for _ in range(3):
        watch.look()
        assert watch.fault
        assert not watch.settled
    settle(Followed([*known(missing), (f"{RETRY}0.1", "")]))


def test_links_are_told_by_where_they_lead_and_other_names_are_left_alone(tmp_path: Path) -> None:
    entry = f"{DRIVER_ENTRIES}{tmp_path}"
    link = tmp_path / "libcuda.so.1"
    link.symlink_to("libcuda.so.535")
    before = state_of(entry)
    (tmp_path / "libc.so.6").touch()
    assert state_of(entry) == before
    link.unlink()
    link.symlink_to("libcuda.so.550")
    assert state_of(entry) != before


def test_a_change_within_the_time_stamp_s_grain_is_seen(tmp_path: Path) -> None:
    watch = Followed(known(f"{ENTRIES}{tmp_path}"))
    stamp = time.time_ns()
    for name in ("gi1", "gi2"):
        (tmp_path / name).touch()
        os.utime(tmp_path, ns=(stamp, stamp))
        watch.look()
        assert watch.look() == followed.QUIET_SECONDS
        watch = Followed(known(f"{ENTRIES}{tmp_path}"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")
def test_a_device_with_another_number_is_another_one(tmp_path: Path) -> None:
    node = tmp_path / "nvidia0"
    os.mknod(node, 0o020666, os.makedev(195, 0))
    before = state_of(f"{NAMED}{node}"), state_of(f"{ENTRIES}{tmp_path}")
    node.unlink()
    os.mknod(node, 0o020666, os.makedev(511, 0))
    now = state_of(f"{NAMED}{node}"), state_of(f"{ENTRIES}{tmp_path}")
    assert all(one != other for one, other in zip(before, now, strict=True))
