"""A kill or an error at every step of an installation: the old generation or the new one, whole."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.payload_host import (
    FIRST,
    SECOND,
    PayloadHost,
    Snapshot,
    leave_foreign_tree,
    snapshot,
)
from tests.fakes.faulty_syscalls import CrashPoint
from tests.fakes.faulty_writer import FaultyWriter
from toolkit.errors import ExchangeUnsupportedError, HostPathError
from toolkit.host.clock import UninterruptedClock
from toolkit.host.writer import FileWriter
from toolkit.payload.installer import PayloadInstaller
from toolkit.payload.records import PayloadRecord

MANY = 400
"""More steps than any installation has."""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory in memory: hundreds of installations would wait for the disk."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as path:
        yield Path(path)


class WithoutExchange(FaultyWriter):
    """A file system or mount that can't exchange two entries."""

    def exchange(self, first: str, second: str) -> None:
        raise ExchangeUnsupportedError(f"{first} and {second} can't be exchanged: Invalid argument")


def nothing(_: PayloadHost) -> None:
    """No tree at all."""


def older(host: PayloadHost) -> None:
    """A generation of ours."""
    host.install(release=SECOND)


def damaged(host: PayloadHost) -> None:
    """The same generation, with a file that somebody removed."""
    host.install()
    (host.toolkit / "nvidia-ctk").unlink()


def foreign(host: PayloadHost) -> None:
    """A tree of another installer."""
    leave_foreign_tree(host)


BEFORE = pytest.mark.parametrize("before", [nothing, older, damaged, foreign])
WRITER = pytest.mark.parametrize("kind", [FaultyWriter, WithoutExchange])
FAULT = pytest.mark.parametrize("fault", [CrashPoint, errno.ENOSPC], ids=["kill", "full"])


def tree_of(host: PayloadHost) -> Snapshot | None:
    """Return the installed tree; a work directory of the file-by-file way is not part of it."""
    if not host.toolkit.exists():
        return None
    found = snapshot(host.toolkit)
    return {name: entry for name, entry in found.items() if not name.startswith(".toolkit-")}


def attempts(
    tmp_path: Path,
    before: Callable[[PayloadHost], None],
    kind: type[FaultyWriter],
    fault: int | type[CrashPoint],
    act: Callable[[PayloadInstaller], PayloadRecord],
) -> Iterator[tuple[PayloadHost, PayloadRecord | None]]:
    """Yield the host after a fault at each step in turn, up to the run that none stops."""
    model = PayloadHost(tmp_path / "model")
    before(model)
    model.payload(FIRST)
    for at in range(MANY):
        base = tmp_path / f"at-{at}"
        shutil.copytree(model.base, base, symlinks=True)
        host = PayloadHost(base)
        _settle(host, before)
        writer = kind(real=host.writer(), at=at, fault=fault)
        installer = host.installer(writer=writer)
        try:
            with contextlib.suppress(HostPathError, CrashPoint):
                yield host, act(installer)
                return
            yield host, None
        finally:
            shutil.rmtree(base)
    pytest.fail("the installation never ended")


def _settle(host: PayloadHost, before: Callable[[PayloadHost], None]) -> None:
    """Make a copied host remember its own inodes, as a real one does."""
    if before in (older, damaged):
        shutil.rmtree(host.install_dir)
        before(host)


class Stopped:
    """Keeps the record of an installation that is stopped after ``intent``."""

    record: PayloadRecord

    def __init__(self, host_low_level: PayloadHost) -> None:
        self._low_level = host_low_level.low_level

    def up_to_swap(self, installer: PayloadInstaller) -> PayloadRecord:
        plan = installer.plan(self._low_level)
        self.record = installer.intent(plan)
        installer.stage(plan, UninterruptedClock())
        installer.swap(self.record)
        return self.record

    def to_the_end(self, installer: PayloadInstaller) -> PayloadRecord:
        record = self.up_to_swap(installer)
        installer.commit(record)
        return record


@BEFORE
@WRITER
@FAULT
def test_a_fault_before_the_commit_is_undone_to_the_old_tree(
    tmp_path: Path,
    before: Callable[[PayloadHost], None],
    kind: type[FaultyWriter],
    fault: int | type[CrashPoint],
) -> None:
    run = Stopped(PayloadHost(tmp_path / "unused"))
    seen = 0
    for host, _ in attempts(tmp_path, before, kind, fault, run.up_to_swap):
        seen += 1
        old = expected_before(tmp_path, before)
        undone(host, run.record, kind)
        assert old == tree_of(host)
        names = (
            {path.name for path in host.install_dir.iterdir()}
            if host.install_dir.exists()
            else set()
        )
        assert names <= {"toolkit", ".toolkit-journal"}
        undone(host, run.record, kind)
        assert old == tree_of(host)
    assert seen > 10


@BEFORE
def test_at_every_kill_the_tree_in_place_is_the_old_one_or_the_new_one(
    tmp_path: Path, before: Callable[[PayloadHost], None]
) -> None:
    run = Stopped(PayloadHost(tmp_path / "unused"))
    new = None
    trees = []
    for host, finished in attempts(tmp_path, before, FaultyWriter, CrashPoint, run.to_the_end):
        trees.append(tree_of(host))
        if finished is not None:
            new = tree_of(host)
    old = expected_before(tmp_path, before)
    assert new is not None
    assert all(tree in (old, new) for tree in trees)
    assert old in trees
    # Once in place, the new one stays.
    assert all(tree == new for tree in trees[trees.index(new) :])


@BEFORE
@WRITER
def test_a_commit_that_is_killed_can_be_repeated(
    tmp_path: Path, before: Callable[[PayloadHost], None], kind: type[FaultyWriter]
) -> None:
    run = Stopped(PayloadHost(tmp_path / "unused"))
    for host, _ in attempts(tmp_path, before, kind, CrashPoint, run.to_the_end):
        installer = host.installer()
        if installer.installed() != run.record.digest:
            continue
        installer.commit(run.record)
        assert run.record.digest == host.installer().installed()
        left = {"toolkit", ".toolkit-journal", ".toolkit-before"}
        assert {path.name for path in host.install_dir.iterdir()} <= left
        assert installer.restores_foreign() == (before is foreign)


@BEFORE
@WRITER
@FAULT
def test_an_undo_that_is_stopped_can_be_repeated(
    tmp_path: Path,
    before: Callable[[PayloadHost], None],
    kind: type[FaultyWriter],
    fault: int | type[CrashPoint],
) -> None:
    run = Stopped(PayloadHost(tmp_path / "unused"))

    def undo(installer: PayloadInstaller) -> PayloadRecord:
        installer.undo(run.record)
        return run.record

    def swapped(host: PayloadHost) -> None:
        before(host)
        run.up_to_swap(host.installer(writer=kind(real=host.writer())))

    old = expected_before(tmp_path, before)
    for at in range(MANY):
        host = PayloadHost(tmp_path / f"undo-{at}")
        swapped(host)
        writer = kind(real=host.writer(), at=at, fault=fault)
        done = False
        with contextlib.suppress(HostPathError, CrashPoint):
            undo(host.installer(writer=writer))
            done = True
        undone(host, run.record, kind)
        assert old == tree_of(host)
        shutil.rmtree(host.base)
        if done:
            return
    pytest.fail("the undo never ended")


@pytest.mark.parametrize("before", [nothing, foreign])
@WRITER
def test_a_removal_that_is_killed_can_be_repeated(
    tmp_path: Path, before: Callable[[PayloadHost], None], kind: type[FaultyWriter]
) -> None:
    old = expected_before(tmp_path, before)
    for at in range(MANY):
        host = PayloadHost(tmp_path / f"remove-{at}")
        before(host)
        record = host.install(writer=kind(real=host.writer()))
        writer = kind(real=host.writer(), at=at, fault=CrashPoint)
        done = False
        with contextlib.suppress(CrashPoint):
            host.installer(writer=writer).remove(record)
            done = True
        host.installer(writer=kind(real=host.writer())).remove(record)
        assert old == tree_of(host)
        left = {path.name for path in host.install_dir.iterdir()}
        assert left <= {"toolkit", ".toolkit-journal"}
        shutil.rmtree(host.base)
        if done:
            return
    pytest.fail("the removal never ended")


def expected_before(tmp_path: Path, before: Callable[[PayloadHost], None]) -> Snapshot | None:
    """Return the tree that was there before the installation."""
    host = PayloadHost(tmp_path / "expected")
    if not host.install_dir.exists():
        before(host)
    return tree_of(host)


def undone(host: PayloadHost, record: PayloadRecord, kind: type[FaultyWriter]) -> None:
    """Undo as the next process would."""
    writer: FileWriter = kind(real=host.writer())
    host.installer(writer=writer).undo(record)
