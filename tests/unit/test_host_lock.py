"""The lock on the pid file: one holder, whatever the order of opening, removing and dying."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from toolkit.errors import ExitCode, HostPathError, LockedError
from toolkit.host.lock import MADE, Lock, held_by_other


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


HOLD = """
    import sys
    from toolkit.host.lock import Lock
    lock = Lock.acquire(sys.argv[1])
    print("held", flush=True)
    sys.stdin.readline()
    lock.release()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path.resolve() / "nvidia/toolkit/toolkit.pid"


def test_the_pid_is_written_and_file_and_made_directories_go_at_the_release(path: Path) -> None:
    lock = Lock.acquire(str(path))
    assert path.read_text() == f"{os.getpid()}\n"
    assert lock.made == (str(path.parent.parent), str(path.parent))
    lock.release()
    assert not path.parent.parent.exists()


def test_directories_that_were_there_or_are_in_use_stay(path: Path) -> None:
    path.parent.parent.mkdir()
    lock = Lock.acquire(str(path))
    (path.parent / "other").touch()
    lock.release()
    assert [each.name for each in path.parent.iterdir()] == ["other"]


def test_another_process_that_holds_it_is_named_and_its_file_left_alone(path: Path) -> None:
    holder = python(HOLD, str(path))
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match=rf"toolkit\.pid .*PID {holder.pid}") as caught:
            Lock.acquire(str(path))
        assert caught.value.exit_code is ExitCode.LOCKED
        assert path.read_text() == f"{holder.pid}\n"
        holder.communicate("\n")
    assert not path.exists()


def test_the_lock_of_a_killed_holder_is_free_and_its_pid_overwritten(path: Path) -> None:
    holder = python(HOLD, str(path))
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.kill()
    path.write_text("4194304 and more\n")
    lock = Lock.acquire(str(path))
    assert path.read_text() == f"{os.getpid()}\n"
    lock.release()


@pytest.mark.parametrize("calls", range(1, 14))
def test_directories_that_a_killed_holder_made_go_with_the_next_release(
    path: Path, calls: int
) -> None:
    """It dies before one of its calls of the system that change something, or holds the lock."""
    code = """
        import os, sys
        from toolkit.host.lock import Lock
        left = int(sys.argv[2])
        def hook(event, _):
            global left
            left -= event in ("os.mkdir", "os.rename", "open", "shutil.rmtree", "os.remove")
            if not left:
                os._exit(9)
        sys.addaudithook(hook)
        Lock.acquire(sys.argv[1])
        os._exit(8)
        """
    before = sorted(path.parents[2].iterdir())
    with python(code, str(path), str(calls)) as holder:
        assert holder.wait() in (8, 9)
    Lock.acquire(str(path)).release()
    assert sorted(path.parents[2].iterdir()) == before


def test_a_link_in_the_place_of_the_note_is_not_followed(path: Path) -> None:
    path.parent.mkdir(parents=True)
    target = path.parents[2] / "target"
    target.write_text(f"{path.parent}\n")
    (path.parent / MADE).symlink_to(target)
    lock = Lock.acquire(str(path))
    lock.note_made([str(path.parent)])
    lock.release()
    assert target.read_text() == f"{path.parent}\n"
    assert path.parent.is_dir()


def test_only_directories_above_the_file_are_taken_from_a_note(path: Path) -> None:
    other = path.parents[2] / "other"
    other.mkdir()
    path.parent.mkdir(parents=True)
    (path.parent / MADE).write_text(f"{other}\n{path.parents[2]}\n")
    lock = Lock.acquire(str(path))
    lock.release()
    assert other.is_dir()
    assert path.parent.is_dir()


def test_a_lock_that_another_process_holds_is_seen_without_being_taken(path: Path) -> None:
    assert held_by_other(str(path)) is None
    with python(HOLD, str(path)) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        found = held_by_other(str(path))
        assert found is not None
        assert found.holder == holder.pid
        holder.kill()
        holder.wait()
    assert held_by_other(str(path)) is None


def test_a_flock_taken_by_another_installer_without_a_pid_is_respected(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(LockedError, match="has not written its PID"):
            Lock.acquire(str(path))
    assert path.read_bytes() == b""


def test_the_other_installer_can_not_take_ours(path: Path) -> None:
    lock = Lock.acquire(str(path))
    with path.open("r") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    lock.release()


def test_a_release_spares_the_file_that_somebody_put_in_its_place(path: Path) -> None:
    lock = Lock.acquire(str(path))
    path.unlink()
    path.write_text("7\n")
    lock.release()
    assert path.read_text() == "7\n"


def test_the_descriptor_survives_an_exec_and_is_adopted(path: Path) -> None:
    code = """
        import os, sys
        from toolkit.host.lock import Lock
        lock = Lock.acquire(sys.argv[1])
        os.set_inheritable(lock.fd, True)
        os.execv(sys.executable, [sys.executable, "-c", sys.argv[2], sys.argv[1], str(lock.fd)])
    """
    after = """
import os, sys
from toolkit.host.lock import Lock
lock = Lock.adopt(int(sys.argv[2]), sys.argv[1], [os.path.dirname(sys.argv[1])])
print(os.getpid(), os.get_inheritable(lock.fd), flush=True)
sys.stdin.readline()
lock.release()
"""
    with python(code, str(path), after) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{process.pid} False\n"
        with pytest.raises(LockedError, match=f"PID {process.pid}"):
            Lock.acquire(str(path))
        process.communicate("\n")
    assert not path.parent.exists()


def test_a_descriptor_of_a_replaced_file_is_not_adopted(path: Path) -> None:
    lock = Lock.acquire(str(path))
    path.unlink()
    path.touch()
    with pytest.raises(HostPathError, match="was lost"):
        Lock.adopt(lock.fd, str(path))
    os.close(lock.fd)


@pytest.mark.parametrize("kind", ["directory", "link", "fifo"])
def test_what_is_no_regular_file_is_refused_in_one_line(path: Path, kind: str) -> None:
    path.parent.mkdir(parents=True)
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/etc/passwd")
    with pytest.raises(HostPathError, match=f"cannot lock {path}"):
        Lock.acquire(str(path))
    assert path.is_dir() or path.is_symlink() or path.is_fifo()


def test_a_failure_takes_the_made_directories_away(path: Path) -> None:
    path.parent.parent.parent.joinpath("file").touch()
    with pytest.raises(HostPathError):
        Lock.acquire(str(path.parent / ("n" * 300)))
    assert not path.parent.parent.exists()


def test_of_many_processes_that_come_and_go_only_one_at_a_time_holds_it(path: Path) -> None:
    code = """
        import os, sys
        from toolkit.errors import LockedError
        from toolkit.host.lock import Lock
        path, proof, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
        held = 0
        while held < times:
            try:
                lock = Lock.acquire(path)
            except LockedError:
                continue
            os.close(os.open(proof, os.O_CREAT | os.O_EXCL))
            assert open(path).read() == f"{os.getpid()}\\n"
            os.unlink(proof)
            lock.release()
            held += 1
    """
    proof = path.parent.parent.parent / "proof"
    crowd = [python(code, str(path), str(proof), "20") for _ in range(6)]
    assert [process.communicate()[0] for process in crowd] == [""] * 6
    assert [process.returncode for process in crowd] == [0] * 6
    assert not path.exists()
