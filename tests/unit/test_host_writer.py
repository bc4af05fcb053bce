"""The writer and the view on real files: what is kept, what is followed, what is refused."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.fakes.faulty_syscalls import FaultySyscalls
from tests.fakes.memory_files import MemoryFiles
from toolkit.errors import ExchangeUnsupportedError, HostPathError
from toolkit.host.host_files import HostFiles
from toolkit.host.paths import HostRoot
from toolkit.host.view import HostFilesView
from toolkit.host.writer import FileMetadata, FileState, FileWriter


@pytest.fixture
def host(tmp_path: Path) -> Path:
    made = tmp_path.resolve() / "host"
    (made / "etc").mkdir(parents=True)
    return made


@pytest.fixture
def files(host: Path) -> HostFiles:
    return HostFiles(HostRoot.detect(str(host)))


@pytest.fixture(params=["disk", "memory"])
def writer(request: pytest.FixtureRequest, files: HostFiles) -> FileWriter:
    if request.param == "disk":
        return files
    memory = MemoryFiles()
    memory.make_directories("/etc")
    return memory


def test_mode_owner_and_attributes_of_the_replaced_file_are_kept(files: HostFiles) -> None:
    kept = FileMetadata(mode=0o4604, uid=12, gid=34, xattrs={"user.a": b"\0b"})
    files.write("/etc/a", b"one", kept)
    files.write("/etc/a", b"two")
    assert files.read("/etc/a") == FileState(content=b"two", metadata=kept)


def test_a_new_file_has_mode_0644_whatever_the_umask(files: HostFiles) -> None:
    before = os.umask(0o077)
    try:
        files.write("/etc/a", b"")
        files.make_directories("/etc/b")
    finally:
        os.umask(before)
    state = files.read("/etc/a")
    assert state is not None
    assert state.metadata == FileMetadata(mode=0o644)


def test_given_metadata_wins(writer: FileWriter) -> None:
    writer.write("/etc/a", b"1")
    writer.write("/etc/a", b"2", FileMetadata(mode=0o600, uid=3))
    assert writer.read("/etc/a") == FileState(
        content=b"2", metadata=FileMetadata(mode=0o600, uid=3)
    )


def test_the_file_behind_a_link_is_written_and_removed_and_the_link_stays(
    writer: FileWriter,
) -> None:
    writer.make_directories("/opt")
    writer.link("/etc/config", "/opt/real")
    assert writer.read("/etc/config") is None
    writer.write("/etc/config", b"new")
    assert writer.read("/opt/real") == writer.read("/etc/config")
    writer.remove("/etc/config")
    assert writer.read("/opt/real") is None
    writer.write("/opt/real", b"again")
    assert writer.read("/etc/config") is not None
    writer.remove_link("/etc/config")
    assert writer.read("/etc/config") is None
    assert writer.read("/opt/real") is not None


def test_what_is_gone_already_is_no_error(writer: FileWriter) -> None:
    writer.remove("/etc/a")
    writer.remove_link("/etc/a")
    writer.remove_tree("/etc/a")
    writer.clean_leftovers("/nowhere")
    assert writer.remove_directory("/etc/a")


def test_missing_directories_are_made_and_told_outermost_first(writer: FileWriter) -> None:
    assert writer.missing_directories("/etc/a/b") == ("/etc/a", "/etc/a/b")
    assert writer.make_directories("/etc/a/b", 0o700) == ("/etc/a", "/etc/a/b")
    assert writer.make_directories("/etc/a/b") == ()
    assert writer.missing_directories("/") == ()
    assert not writer.remove_directory("/etc/a")
    assert writer.remove_directory("/etc/a/b")


def test_trees_are_created_exchanged_renamed_and_removed(
    writer: FileWriter, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"payload")
    for directory, content in (("/new", source), ("/old", b"before")):
        writer.make_directories(directory)
        writer.create(f"{directory}/file", content, FileMetadata(mode=0o755))
        writer.sync_tree(directory)
    writer.exchange("/new", "/old")
    assert writer.read("/old/file") == FileState(
        content=b"payload", metadata=FileMetadata(mode=0o755)
    )
    writer.remove_tree("/new")
    assert writer.read("/new/file") is None
    writer.rename("/old", "/kept")
    assert writer.read("/kept/file") is not None
    with pytest.raises(HostPathError, match="/kept/file"):
        writer.create("/kept/file", b"", FileMetadata(mode=0o644))


@pytest.mark.parametrize(
    "number", [errno.EINVAL, errno.EXDEV, errno.EBUSY, errno.ENOSYS], ids=errno.errorcode.get
)
def test_an_exchange_that_the_kernel_refuses_is_told_apart(host: Path, number: int) -> None:
    calls = FaultySyscalls(unsupported={"exchange": number})
    refused = HostFiles(HostRoot.detect(str(host)), calls)
    with pytest.raises(ExchangeUnsupportedError, match="/etc/a and /etc/b"):
        refused.exchange("/etc/a", "/etc/b")


def test_an_exchange_with_nothing_is_another_error(writer: FileWriter) -> None:
    with pytest.raises(HostPathError, match="No such file") as caught:
        writer.exchange("/etc", "/nothing")
    assert not isinstance(caught.value, ExchangeUnsupportedError)


def test_removing_a_tree_never_follows_a_link(files: HostFiles, host: Path) -> None:
    (host / "keep").mkdir()
    (host / "keep/file").touch()
    (host / "tree/sub").mkdir(parents=True)
    (host / "tree/sub/link").symlink_to("../../keep")
    (host / "tree/absolute").symlink_to(host / "keep")
    files.remove_tree("/tree")
    assert not (host / "tree").exists()
    assert (host / "keep/file").exists()
    (host / "link").symlink_to("keep")
    files.remove_tree("/link")
    assert (host / "keep/file").exists()


def test_a_tree_with_a_mount_in_it_is_not_touched(host: Path, tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    (host / "tree/sub").mkdir(parents=True)
    (proc / "self/mountinfo").write_text(f"9 1 8:1 /x {host}/tree/sub rw - ext4 x rw\n")
    files = HostFiles(HostRoot.detect(str(host), proc=str(proc)))
    with pytest.raises(HostPathError, match=r"mounted at .*/tree/sub"):
        files.remove_tree("/tree")
    assert (host / "tree/sub").is_dir()


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_what_is_no_file_is_neither_read_nor_replaced(
    files: HostFiles, host: Path, kind: str
) -> None:
    place = host / "etc/it"
    if kind == "fifo":
        os.mkfifo(place)
    else:
        place.mkdir()
    with pytest.raises(HostPathError, match=r"cannot read /etc/it: (Is a|Not a reg)"):
        files.read("/etc/it")
    with pytest.raises(HostPathError, match=r"cannot write /etc/it: (Is a|Not a reg)"):
        files.write("/etc/it", b"x")
    assert not stat.S_ISREG(place.stat().st_mode)


def test_a_missing_directory_is_named(writer: FileWriter) -> None:
    with pytest.raises(HostPathError, match="cannot write /etc/none/a: No such file"):
        writer.write("/etc/none/a", b"")


def test_a_link_out_of_the_root_is_written_inside_it(
    files: HostFiles, host: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("theirs")
    (host / "etc/a").symlink_to(outside)
    (host / str(outside.parent)[1:]).mkdir(parents=True)
    files.write("/etc/a", b"ours")
    assert outside.read_text() == "theirs"
    assert (host / str(outside)[1:]).read_bytes() == b"ours"


def test_leftovers_of_a_killed_process_are_removed_and_nothing_else(
    files: HostFiles, host: Path
) -> None:
    (host / "etc/.nvidia-toolkit-0123456789ab.new").touch()
    (host / "etc/.nvidia-toolkit-note").touch()
    files.clean_leftovers("/etc")
    assert [path.name for path in (host / "etc").iterdir()] == [".nvidia-toolkit-note"]


def test_a_file_of_absurd_size_is_refused_unread(files: HostFiles, host: Path) -> None:
    with (host / "etc/huge").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(HostPathError, match="cannot read /etc/huge: File too large"):
        files.read("/etc/huge")


def test_patterns_match_as_the_engines_match_them(host: Path) -> None:
    for name in ("b.toml", "a.toml", ".hidden.toml", "c.conf", "Z.toml", "[x].toml"):
        (host / "etc" / name).touch()
    (host / "etc/d1").mkdir()
    (host / "etc/d1/a.toml").touch()
    view = HostFilesView(HostRoot.detect(str(host)))

    def names(pattern: str) -> list[str]:
        return [path.removeprefix("/etc/") for path in view.glob(pattern)]

    assert names("/etc/*.toml") == [".hidden.toml", "Z.toml", "[x].toml", "a.toml", "b.toml"]
    assert names("/etc/[a-c].*") == ["a.toml", "b.toml", "c.conf"]
    assert names("/etc/[^a-c].toml") == ["Z.toml"]
    assert names("/etc/?.conf") == ["c.conf"]
    assert names(r"/etc/\[x\].toml") == ["[x].toml"]
    assert names("/etc/*/a.toml") == ["d1/a.toml"]
    assert names("/etc/a.toml") == ["a.toml"]
    assert names("/etc/none*") == names("/none/*") == names("/etc/[") == names("etc/*") == []
    assert names("/etc/[z-a]") == names("/etc/x\\") == names("/etc/[]a]") == []
    assert view.read("/etc/a.toml") == b""
    assert view.read("/etc/a.toml/x") is None
    assert view.read("/none") is None
    with pytest.raises(HostPathError, match="/etc/d1: Is a directory"):
        view.read("/etc/d1")
    (host / "etc/link").symlink_to("d1")
    assert view.is_directory("/etc/d1")
    for other in ("/etc/link", "/etc/a.toml", "/none", "/etc/a.toml/x"):
        assert not view.is_directory(other)


def test_a_process_killed_while_writing_leaves_a_whole_file(files: HostFiles, host: Path) -> None:
    code = """
        import sys
        from toolkit.host.host_files import HostFiles
        from toolkit.host.paths import HostRoot
        files = HostFiles(HostRoot.detect(sys.argv[1]))
        contents = [bytes([letter]) * 300_000 for letter in b"ab"]
        print("begun", flush=True)
        while True:
            for content in contents:
                files.write("/etc/a.toml", content)
    """
    for wait in (0.0, 0.013, 0.029, 0.041, 0.057):
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(host)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
        for path in (host / "etc").iterdir():
            content = path.read_bytes()
            assert content in (b"a" * 300_000, b"b" * 300_000)
    files.write("/etc/a.toml", b"")
    assert [path.name for path in (host / "etc").iterdir()] == ["a.toml"]


NAMESPACE = """
    import sys
    from toolkit.errors import HostPathError
    from toolkit.host.host_files import HostFiles
    from toolkit.host.paths import HostRoot
    root = HostRoot.detect(sys.argv[1])
    files = HostFiles(root)
    print(root.host_path(sys.argv[2] + "/config.toml"))
    files.write("/etc/containerd/config.toml", b"edited")
    print(root.host_path(sys.argv[2] + "/single"))
    files.write("/etc/containerd/single", b"in place")
    for act in (lambda: files.write("/etc/passwd", b""), lambda: files.remove_tree("/tree")):
        try:
            act()
        except HostPathError as error:
            print(error)
"""
MOUNTS = """
    mount --make-rprivate / && mount --bind "$1/real" "$1/host" &&
    mount -o remount,bind,ro "$1/host" && mount --bind "$1/real/etc/containerd" "$1/dir" &&
    mount --bind "$1/real/etc/containerd/single" "$1/dir/single" &&
    mount --bind "$1/real/etc" "$1/host/tree/mounted" && exec "$2" -c "$3" "$1/host" "$1/dir"
"""


def test_with_real_mounts_a_read_only_host_is_written_through_the_given_one(
    tmp_path: Path,
) -> None:
    base = tmp_path.resolve()
    config = base / "real/etc/containerd"
    for directory in (config, base / "real/tree/mounted", base / "host", base / "dir"):
        directory.mkdir(parents=True)
    (config / "config.toml").write_text("version = 2\n")
    (config / "single").write_text("old")
    arguments = [str(base), sys.executable, textwrap.dedent(NAMESPACE)]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-ec", textwrap.dedent(MOUNTS), "sh", *arguments],  # noqa: S607 - the system's own
        capture_output=True,
        text=True,
        check=False,
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip("this machine allows no mount namespace")
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "/etc/containerd/config.toml",
        "/etc/containerd/single",
        "cannot write /etc/passwd: Read-only file system",
        f"cannot remove /tree: something is mounted at {base}/host/tree/mounted; unmount it first",
    ]
    assert (config / "config.toml").read_bytes() == b"edited"
    assert (config / "single").read_bytes() == b"in place"
    assert [path.name for path in config.iterdir() if path.name.startswith(".")] == []
