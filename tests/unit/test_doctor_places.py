"""`doctor` looks at the file systems that a setup writes to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.node_host import FaultHost
from tests.unit.doctor_host import node_of, only
from toolkit.report.doctor import Verdict
from toolkit.report.doctor.places import lack_of_room

GIB = (1 << 30) // 4096


def state(
    *, bytes_free: int = GIB, inodes: int = 1000, inodes_free: int = 1000, flags: int = 0
) -> os.statvfs_result:
    # f_bsize, f_frsize, f_blocks, f_bfree, f_bavail, f_files, f_ffree, f_favail, f_flag, ...
    values = (4096, 4096, GIB, bytes_free, bytes_free, inodes, inodes_free, inodes_free, flags, 255)
    return os.statvfs_result((*values, 0))


@pytest.mark.parametrize(
    ("found", "programs", "message"),
    [
        (state(), True, None),
        (state(flags=os.ST_RDONLY), False, "is read-only"),
        (state(flags=os.ST_NOEXEC), True, "is mounted noexec"),
        (state(flags=os.ST_NOEXEC), False, None),
        (state(bytes_free=100), False, "has only 0 MiB free"),
        (state(inodes_free=3), False, "has only 3 inodes free, 8 are needed"),
        (state(inodes_free=50), False, None),
        (state(inodes_free=50), True, "has only 50 inodes free, 128 are needed"),
        # btrfs counts none.
        (state(inodes=0, inodes_free=0), True, None),
    ],
)
def test_room_is_made_of_bytes_and_inodes_that_may_be_used(
    found: os.statvfs_result, message: str | None, *, programs: bool
) -> None:
    lack = lack_of_room(found, programs=programs)
    assert (None if lack is None else lack[0]) == message


def test_each_place_is_told_with_its_room(tmp_path: Path) -> None:
    node = node_of(FaultHost(tmp_path))
    for check in ("install directory", "pid file", "config file"):
        finding = only(node, check)
        assert finding.verdict is Verdict.OK
        assert "MiB" in finding.message
