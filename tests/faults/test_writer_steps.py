"""For each system call of a write and each fault before it: the file holds old or new, whole."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.faulty_syscalls import CrashPoint, FaultySyscalls
from toolkit.errors import ConcurrentEditError, HostPathError
from toolkit.host.host_files import HostFiles
from toolkit.host.paths import HostRoot
from toolkit.host.writer import FileMetadata, FileState

OLD = b"old = true\n" * 40
NEW = b"new = true\n" * 900
THEIRS = b"theirs = true\n"
ERRORS = [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.EBUSY]
KEPT = FileMetadata(mode=0o640, uid=1234, gid=2345, xattrs={"user.label": b"theirs"})
FILE_SYSTEMS = {
    "one with unnamed files": {},
    "one without unnamed files": {"open_unnamed": errno.EOPNOTSUPP},
    "one that can't name unnamed files": {"link_unnamed": errno.ENOENT},
}


@dataclass(frozen=True)
class Host:
    """A host root in a directory, with one config directory."""

    directory: Path

    @property
    def config(self) -> Path:
        return self.directory / "etc/engine/conf.d"

    def files(self, calls: FaultySyscalls | None = None) -> HostFiles:
        return HostFiles(HostRoot.detect(str(self.directory)), calls or FaultySyscalls())

    def names(self) -> set[str]:
        return {path.name for path in self.directory.rglob("*") if not path.is_dir()}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(tmp_path.resolve() / "host")
    made.config.mkdir(parents=True)
    return made


PATH = "/etc/engine/conf.d/99.toml"


def put_old(host: Host) -> None:
    host.files().write(PATH, OLD, KEPT)


def put_nothing(host: Host) -> None:
    del host


def write(files: HostFiles) -> None:
    files.write(PATH, NEW)


def exchange(files: HostFiles) -> None:
    files.write(PATH, NEW, instead_of=(OLD, NEW, None))


def remove(files: HostFiles) -> None:
    files.remove(PATH, instead_of=(OLD, None))


BEGINNINGS: list[tuple[Callable[[Host], None], Callable[[HostFiles], None]]] = [
    (put_old, write),
    (put_nothing, write),
    (put_old, exchange),
    (put_nothing, exchange),
    (put_old, remove),
]


def number_of_calls(
    host: Host,
    begin: Callable[[Host], None],
    act: Callable[[HostFiles], None],
    calls: FaultySyscalls,
) -> int:
    begin(host)
    act(host.files(calls))
    (host.config / "99.toml").unlink(missing_ok=True)
    return len(calls.done)


def expected_after(act: Callable[[HostFiles], None], before: FileState | None) -> FileState | None:
    if act is remove:
        return None
    return FileState(content=NEW, metadata=before.metadata if before else FileMetadata(mode=0o644))


@pytest.mark.parametrize("file_system", FILE_SYSTEMS)
@pytest.mark.parametrize(("begin", "act"), BEGINNINGS)
@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
def test_an_error_at_any_step_leaves_old_or_new_whole_and_no_temporary_file(
    host: Host,
    file_system: str,
    begin: Callable[[Host], None],
    act: Callable[[HostFiles], None],
    number: int,
) -> None:
    unsupported = FILE_SYSTEMS[file_system]

    def calls(at: int | None) -> FaultySyscalls:
        return FaultySyscalls(at=at, fault=number, unsupported=dict(unsupported), short_writes=4000)

    for at in range(number_of_calls(host, begin, act, calls(None))):
        begin(host)
        before = host.files().read(PATH)
        after = expected_after(act, before)
        failed = None
        try:
            act(host.files(calls(at)))
        except HostPathError as error:
            failed = error.message
        if failed is not None:
            assert PATH in failed
            assert os.strerror(number) in failed
            assert host.files().read(PATH) in (before, after)
        else:
            # EBUSY at the rename, or a refusal of the parent directory: the other way was taken.
            assert host.files().read(PATH) == after
        assert host.names() <= {"99.toml"}
        (host.config / "99.toml").unlink(missing_ok=True)


@pytest.mark.parametrize("file_system", FILE_SYSTEMS)
@pytest.mark.parametrize(("begin", "act"), BEGINNINGS)
def test_a_crash_at_any_step_leaves_old_or_new_whole_and_the_next_write_cleans_up(
    host: Host, file_system: str, begin: Callable[[Host], None], act: Callable[[HostFiles], None]
) -> None:
    unsupported = FILE_SYSTEMS[file_system]

    def calls(at: int | None) -> FaultySyscalls:
        return FaultySyscalls(at=at, unsupported=dict(unsupported), short_writes=4000)

    for at in range(number_of_calls(host, begin, act, calls(None))):
        begin(host)
        before = host.files().read(PATH)
        with pytest.raises(CrashPoint):
            act(host.files(calls(at)))
        assert host.files().read(PATH) in (before, expected_after(act, before))
        assert not any(
            name.endswith((".toml", ".conf", ".json")) for name in host.names() - {"99.toml"}
        )
        act(host.files(calls(None)))
        host.files().clean_leftovers("/etc/engine/conf.d")
        assert host.files().read(PATH) == expected_after(act, before)
        assert host.names() <= {"99.toml"}
        (host.config / "99.toml").unlink(missing_ok=True)


@pytest.mark.parametrize("file_system", FILE_SYSTEMS)
@pytest.mark.parametrize("act", [write, exchange])
def test_at_no_step_does_the_directory_show_a_part_of_a_file(
    host: Host, file_system: str, act: Callable[[HostFiles], None]
) -> None:
    put_old(host)
    calls = FaultySyscalls(unsupported=dict(FILE_SYSTEMS[file_system]), short_writes=1000)
    for at in range(number_of_calls(host, put_old, act, calls)):
        put_old(host)
        crashing = FaultySyscalls(at=at, unsupported=calls.unsupported, short_writes=1000)
        with pytest.raises(CrashPoint):
            act(host.files(crashing))
        assert {path.read_bytes() for path in host.config.iterdir()} <= {OLD, NEW}


def test_a_file_that_is_a_mount_is_written_in_place_and_put_back_on_a_full_disk(
    host: Host,
) -> None:
    put_old(host)
    inode = (host.config / "99.toml").stat().st_ino
    busy = {"rename": errno.EBUSY}
    calls = FaultySyscalls(unsupported=busy, short_writes=4000)
    host.files(calls).write(PATH, NEW)
    assert host.files().read(PATH) == FileState(content=NEW, metadata=KEPT)
    assert (host.config / "99.toml").stat().st_ino == inode
    for at in range(calls.done.index("open_existing"), len(calls.done)):
        put_old(host)
        failing = FaultySyscalls(at=at, fault=errno.ENOSPC, unsupported=busy, short_writes=4000)
        with pytest.raises(HostPathError, match="No space left"):
            host.files(failing).write(PATH, NEW)
        assert host.files().read(PATH) == FileState(content=OLD, metadata=KEPT)
        assert host.names() == {"99.toml"}


class EditedMeanwhile(FaultySyscalls):
    """Somebody writes the file before one of the calls."""

    def __init__(self, path: Path, before: str, unsupported: dict[str, int]) -> None:
        super().__init__(unsupported=unsupported)
        self._path, self._before = path, before

    def _step(self, name: str) -> None:
        if name == self._before and self._before not in self.done:
            self._path.write_bytes(THEIRS)
        super()._step(name)


@pytest.mark.parametrize("file_system", FILE_SYSTEMS)
@pytest.mark.parametrize("step", ["write", "chmod", "sync", "exchange"])
@pytest.mark.parametrize("begin", [put_old, put_nothing])
def test_what_somebody_writes_to_the_last_moment_is_not_replaced(
    host: Host, file_system: str, step: str, begin: Callable[[Host], None]
) -> None:
    begin(host)
    path = host.config / "99.toml"
    calls = EditedMeanwhile(path, step, dict(FILE_SYSTEMS[file_system]))
    told = None
    try:
        exchange(host.files(calls))
    except ConcurrentEditError as error:
        told = error.message
    if told is None:
        assert step not in calls.done, "it came into being in one step, with nothing to replace"
    else:
        assert PATH in told
    assert path.read_bytes() == (NEW if told is None else THEIRS)
    assert host.names() == {"99.toml"}


def test_a_file_that_was_made_meanwhile_is_not_replaced(host: Host) -> None:
    path = host.config / "99.toml"
    with pytest.raises(ConcurrentEditError):
        exchange(host.files(EditedMeanwhile(path, "link_unnamed", {})))
    assert path.read_bytes() == THEIRS
    assert host.names() == {"99.toml"}


def test_a_file_that_somebody_changed_is_not_removed(host: Host) -> None:
    host.files().write(PATH, THEIRS)
    with pytest.raises(ConcurrentEditError):
        remove(host.files())
    assert (host.config / "99.toml").read_bytes() == THEIRS


def test_a_new_file_appears_under_its_own_name_only(host: Host) -> None:
    calls = FaultySyscalls()
    host.files(calls).write(PATH, NEW)
    assert "rename" not in calls.done
    assert calls.done[-2:] == ["link_unnamed", "sync_directory"]
    status = (host.config / "99.toml").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o644, 0)


def test_content_is_durable_before_it_gets_a_name_and_the_name_after(host: Host) -> None:
    put_old(host)
    calls = FaultySyscalls()
    host.files(calls).write(PATH, NEW)
    order = [each for each in calls.done if each in {"sync", "link_unnamed", "rename"}]
    assert order == ["sync", "link_unnamed", "rename"]
    assert calls.done[-1] == "sync_directory"


def test_making_directories_that_fails_half_way_takes_them_away_again(host: Host) -> None:
    calls = FaultySyscalls()
    made = host.files(calls).make_directories("/a/b/c", 0o700)
    assert made == ("/a", "/a/b", "/a/b/c")
    for at in range(len(calls.done)):
        for directory in reversed(made):
            (host.directory / directory[1:]).rmdir()
        with pytest.raises(HostPathError):
            host.files(FaultySyscalls(at=at, fault=errno.ENOSPC)).make_directories("/a/b/c")
        assert not (host.directory / "a").exists()
        host.files().make_directories("/a/b/c")


@pytest.mark.parametrize("fault", [errno.EIO, CrashPoint])
def test_a_link_is_replaced_in_one_step(host: Host, fault: int | type[CrashPoint]) -> None:
    host.files().link("/etc/link", "one")
    calls = FaultySyscalls()
    host.files(calls).link("/etc/link", "one")
    for at in range(len(calls.done)):
        with pytest.raises((HostPathError, CrashPoint)):
            host.files(FaultySyscalls(at=at, fault=fault)).link("/etc/link", "two")
        assert (host.directory / "etc/link").readlink() in {Path("one"), Path("two")}
        host.files().link("/etc/link", "one")
        assert host.names() == {"link"}
