"""Links are followed as the kernel itself follows them below a root, and never out of it."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.memory_files import MemoryFiles
from toolkit.errors import HostPathError
from toolkit.host.host_files import HostFiles
from toolkit.host.paths import HostRoot
from toolkit.host.writer import FileWriter

NAMES = ["a", "b", "c"]
OPENAT2 = 437
RESOLVE_IN_ROOT = 0x10

paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map("/".join)
targets = st.tuples(
    st.sampled_from(["", "/", "../", "../../../../", "./"]),
    paths,
    st.sampled_from(["", "/", "/.."]),
).map("".join)
trees = st.lists(
    st.tuples(paths, st.one_of(st.none(), st.just("file"), targets)), min_size=1, max_size=8
)


class OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def kernels_answer(root: Path, path: str) -> str | None:
    """Let openat2 open the path inside the root; return what it opened, None where it failed."""
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY)
    how = OpenHow(os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT)
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        opened = libc.syscall(
            OPENAT2, directory, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how)
        )
    finally:
        os.close(directory)
    if opened < 0:
        return None
    try:
        return str(Path(f"/proc/self/fd/{opened}").readlink())
    finally:
        os.close(opened)


def grow(root: Path, tree: list[tuple[str, str | None]]) -> None:
    for path, kind in tree:
        place = root / path
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if kind is None:
                place.mkdir()
            elif kind == "file":
                place.touch()
            else:
                place.symlink_to(kind)
        except OSError:
            continue  # the name is taken, or leads through a file or a loop


@settings(max_examples=300, deadline=None)
@given(tree=trees, path=paths)
def test_a_path_leads_where_the_kernel_says_and_never_out_of_the_root(
    tree: list[tuple[str, str | None]], path: str
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory).resolve()
        host = top / "outer/host"
        host.mkdir(parents=True)
        # The targets may lead to real places outside: those must not be reached.
        (top / "outer/a").mkdir()
        grow(host, [each for each in tree if not escapes(host, each[0])])
        root = HostRoot.detect(str(host))
        answer = kernels_answer(host, f"/{path}")
        try:
            opened = root.access(f"/{path}")
        except HostPathError:
            assert answer is None
            return
        assert opened == str(host) or opened.startswith(f"{host}/")
        assert root.resolve(root.host_of(opened)) == root.host_of(opened)
        if answer is not None:
            assert opened == answer


def escapes(host: Path, path: str) -> bool:
    """Whether making the entry would follow a link out of the root: the test's own side only."""
    parent = (host / path).parent
    return not str(Path(os.path.realpath(parent))).startswith(str(host))


operations = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "write",
                "remove",
                "link",
                "remove_link",
                "mkdir",
                "rmdir",
                "rename",
                "exchange",
                "tree",
            ]
        ),
        paths,
        paths,
    ),
    max_size=12,
)


def apply(writer: FileWriter, operation: tuple[str, str, str]) -> object:
    """Carry one operation out; return what it told, or that it failed."""
    name, first, second = operation
    path, other = f"/{first}", f"/{second}"
    acts: dict[str, Callable[[], object]] = {
        "write": lambda: writer.write(path, other.encode()),
        "remove": lambda: writer.remove(path),
        "link": lambda: writer.link(path, other),
        "remove_link": lambda: writer.remove_link(path),
        "mkdir": lambda: writer.make_directories(path),
        "rmdir": lambda: writer.remove_directory(path),
        "rename": lambda: writer.rename(path, other),
        "exchange": lambda: writer.exchange(path, other),
        "tree": lambda: writer.remove_tree(path),
    }
    try:
        return acts[name]()
    except HostPathError:
        return "failed"


@pytest.mark.timeout(120)
@settings(max_examples=200, deadline=None)
@given(todo=operations)
def test_the_files_in_memory_behave_as_those_on_disk(todo: list[tuple[str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        disk = HostFiles(HostRoot.detect(directory))
        memory = MemoryFiles()
        for operation in todo:
            assert apply(disk, operation) == apply(memory, operation), operation
            found = {
                f"/{path.relative_to(directory)}": path.read_bytes()
                for path in Path(directory).rglob("*")
                if path.is_file() and not path.is_symlink()
            }
            assert found == memory.contents()
