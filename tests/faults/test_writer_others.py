"""What others do to a file and its directory while it is replaced: appends, default ACLs."""

from __future__ import annotations

import errno
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.faulty_syscalls import FaultySyscalls
from toolkit.errors import ConcurrentEditError
from toolkit.host.host_files import HostFiles
from toolkit.host.paths import HostRoot
from toolkit.host.writer import FileMetadata

PATH = "/etc/config.toml"
OLD, NEW, LINE = b"old = 1\n", b"old = 1\nours = 2\n", b"theirs = 3\n"
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path.resolve() / "host/etc/config.toml"
    path.parent.mkdir(parents=True)
    path.write_bytes(OLD)
    path.chmod(0o640)
    return path


def files_of(config: Path, calls: FaultySyscalls | None = None) -> HostFiles:
    return HostFiles(HostRoot.detect(str(config.parents[1])), calls)


class DoneBefore(FaultySyscalls):
    """Somebody acts before the first call of a name."""

    def __init__(self, name: str, act: Callable[[], object]) -> None:
        super().__init__()
        self._name, self._act = name, act

    def _step(self, name: str) -> None:
        if name == self._name and name not in self.done:
            self.done.append(name)
            self._act()
        super()._step(name)


def replaced(files: HostFiles) -> None:
    files.write(PATH, NEW, instead_of=(OLD,))


def removed(files: HostFiles) -> None:
    files.remove(PATH, instead_of=(OLD,))


@pytest.mark.parametrize("change", [replaced, removed])
def test_what_is_appended_after_the_exchange_by_who_opened_the_file_before_is_kept(
    config: Path, change: Callable[[HostFiles], None]
) -> None:
    stream = config.open("ab", buffering=0)

    def append() -> None:
        with stream:
            stream.write(LINE)

    with pytest.raises(ConcurrentEditError, match=PATH):
        change(files_of(config, DoneBefore("await_writers", append)))
    assert config.read_bytes() == OLD + LINE
    assert [path.name for path in config.parent.iterdir()] == [config.name]


@pytest.mark.parametrize("change", [replaced, removed])
def test_who_has_the_file_open_for_writing_is_waited_for(
    config: Path, change: Callable[[HostFiles], None]
) -> None:
    inode = config.stat().st_ino

    def inodes() -> set[int]:
        with os.scandir(config.parent) as entries:
            return {entry.inode() for entry in entries if entry.name == config.name}

    def append_once_it_is_exchanged() -> None:
        with config.open("ab", buffering=0) as stream:
            opened.set()
            while inode in inodes():
                time.sleep(0.001)
            stream.write(LINE)

    opened = threading.Event()
    thread = threading.Thread(target=append_once_it_is_exchanged)
    thread.start()
    opened.wait()
    with pytest.raises(ConcurrentEditError, match=PATH):
        change(files_of(config))
    thread.join()
    assert config.read_bytes() == OLD + LINE


def test_one_that_keeps_it_open_and_writes_nothing_delays_and_fails_nothing(config: Path) -> None:
    with config.open("ab"):
        replaced(files_of(config))
    assert config.read_bytes() == NEW


def mounted(config: Path, name: str, act: Callable[[], object]) -> HostFiles:
    """Return a writer of a file that is a mount of its own; somebody acts before a call."""
    calls = DoneBefore(name, act)
    calls.unsupported["rename"] = errno.EBUSY
    return files_of(config, calls)


def test_what_is_appended_to_a_mounted_file_before_it_is_overwritten_is_kept(config: Path) -> None:
    def append() -> None:
        with config.open("ab") as stream:
            stream.write(LINE)

    with pytest.raises(ConcurrentEditError, match=PATH):
        replaced(mounted(config, "await_writers", append))
    assert config.read_bytes() == OLD + LINE


def test_who_opens_a_mounted_file_while_it_is_overwritten_waits(config: Path) -> None:
    def append() -> None:
        with config.open("ab") as stream:
            stream.write(LINE)

    inode = config.stat().st_ino
    thread = threading.Thread(target=append)

    def append_meanwhile() -> None:
        thread.start()
        while not any("BREAKING" in each and f":{inode} " in each for each in locks()):
            assert thread.is_alive(), "it did not wait"

    def locks() -> list[str]:
        return Path("/proc/locks").read_text().splitlines()

    replaced(mounted(config, "truncate", append_meanwhile))
    thread.join()
    assert config.read_bytes() == NEW + LINE


def test_an_append_to_each_of_the_two_files_is_kept(config: Path) -> None:
    stream = config.open("ab", buffering=0)

    def append_to_both() -> None:
        stream.write(LINE)
        stream.close()
        with config.open("ab") as ours:
            ours.write(b"more = 4\n")

    with pytest.raises(ConcurrentEditError):
        replaced(files_of(config, DoneBefore("await_writers", append_to_both)))
    assert config.read_bytes() == OLD + LINE + b"more = 4\n"
    assert [path.name for path in config.parent.iterdir()] == [config.name]


class AppendsAroundRestoring(FaultySyscalls):
    """Somebody appends to the old file, to the new one, and once more when the old is restored."""

    def __init__(self, config: Path) -> None:
        super().__init__()
        self.config = config
        self.opened = config.open("ab", buffering=0)
        self.last = threading.Thread(target=self.append, args=(b"last = 5\n",))

    def append(self, line: bytes) -> None:
        with self.config.open("ab", buffering=0) as stream:
            stream.write(line)

    def exchange(self, first: str, second: str) -> None:
        restores = "exchange" in self.done
        if restores:
            self.append(b"first = 4\n")
        super().exchange(first, second)
        if restores:
            self.last.start()
            # Without a lease it is done at once; with one it waits for what restores the file.
            self.last.join(0.2)
        else:
            with self.opened:
                self.opened.write(LINE)


def test_lines_that_are_appended_while_the_old_file_is_restored_keep_their_order(
    config: Path,
) -> None:
    calls = AppendsAroundRestoring(config)
    with pytest.raises(ConcurrentEditError):
        replaced(files_of(config, calls))
    calls.last.join()
    assert config.read_bytes() == OLD + LINE + b"first = 4\nlast = 5\n"


@pytest.mark.parametrize("refusal", [errno.EACCES, errno.EPERM])
def test_an_old_file_that_may_not_be_written_to_is_restored_all_the_same(
    config: Path, refusal: int
) -> None:
    def append() -> None:
        with old.open("ab") as stream:
            stream.write(LINE)

    old = config.with_name("old")
    old.hardlink_to(config)
    calls = DoneBefore("await_writers", append)
    # As without CAP_DAC_OVERRIDE: a file of another owner can be renamed but not opened to write.
    calls.unsupported["open_to_append"] = refusal
    with pytest.raises(ConcurrentEditError):
        replaced(files_of(config, calls))
    old.unlink()
    assert config.read_bytes() == OLD + LINE
    assert list(config.parent.iterdir()) == [config]


def test_who_saves_the_new_file_last_wins(config: Path) -> None:
    def append_and_save() -> None:
        with old.open("ab") as stream:
            stream.write(LINE)
        config.write_bytes(b"saved = 5\n")

    old = config.with_name("old")
    old.hardlink_to(config)
    with pytest.raises(ConcurrentEditError):
        replaced(files_of(config, DoneBefore("await_writers", append_and_save)))
    assert config.read_bytes() == b"saved = 5\n"


def acl(*entries: tuple[int, int, int]) -> bytes:
    """Return an ACL as the kernel has it: of each entry the tag, the rights and whose they are."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in entries)


NOBODYS = 0xFFFFFFFF
SOMEBODY = acl((1, 6, NOBODYS), (2, 4, 1234), (4, 4, NOBODYS), (16, 4, NOBODYS), (32, 0, NOBODYS))


@pytest.fixture
def shared(config: Path) -> Path:
    """Let a directory give user 1234 a right to read each file that is made in it."""
    try:
        os.setxattr(config.parent, DEFAULT, SOMEBODY)
    except OSError:
        pytest.skip("this file system has no ACLs")
    return config


@pytest.mark.parametrize("named", [False, True], ids=["unnamed", "named"])
def test_a_file_gets_no_right_that_its_directory_would_add(shared: Path, *, named: bool) -> None:
    unsupported = {"open_unnamed": 95} if named else {}
    files = files_of(shared, FaultySyscalls(unsupported=unsupported))
    files.write(PATH, NEW)
    files.write("/etc/new.toml", NEW)
    files.write("/etc/secret.toml", NEW, FileMetadata(mode=0o600))
    files.create("/etc/created", NEW, FileMetadata(mode=0o640))
    modes = {
        path.name: (path.stat().st_mode & 0o777, os.listxattr(path))
        for path in shared.parent.iterdir()
    }
    assert modes == {
        "config.toml": (0o640, []),
        "new.toml": (0o644, []),
        "secret.toml": (0o600, []),
        "created": (0o640, []),
    }


def test_an_acl_of_the_file_itself_is_kept(shared: Path) -> None:
    os.setxattr(shared, ACCESS, SOMEBODY)
    before = files_of(shared).read(PATH)
    assert before is not None
    files_of(shared).write(PATH, NEW)
    after = files_of(shared).read(PATH)
    assert after is not None
    assert after.metadata == before.metadata
    assert os.getxattr(shared, ACCESS) == SOMEBODY
