"""Whether a program can be executed below another root, and what is in its way."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import pytest

from toolkit.engine.executable import chain, obstacle, root_of
from toolkit.host.paths import HostRoot

SCRIPT = b"#!/bin/sh\nexit 0\n"


class Tree:
    """A root directory with programs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = HostRoot(root=str(directory))
        self.place("/bin/sh", b"a shell")

    def place(self, path: str, content: bytes, mode: int = 0o755) -> Path:
        at = self.directory / path[1:]
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(content)
        at.chmod(mode)
        return at

    def why(self, binary: str, *search_path: str) -> str | None:
        return obstacle(self.root, binary, search_path)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "root")


def elf(loader: bytes, *, wide: bool = True, order: str = "<") -> bytes:
    """Return as much of an ELF file as names a loader."""
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    if wide:
        header = struct.pack(order + "HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
        first = struct.pack(order + "IIQQQQQQ", 6, 0, 0, 0, 0, 0, 0, 0)
        second = struct.pack(order + "IIQQQQQQ", 3, 4, 176, 0, 0, len(loader) + 1, 0, 0)
    else:
        header = struct.pack(order + "HHIIIIIHHHHHH", 2, 3, 1, 0, 52, 0, 0, 52, 32, 2, 0, 0, 0)
        first = struct.pack(order + "IIIIIIII", 6, 0, 0, 0, 0, 0, 0, 0)
        second = struct.pack(order + "IIIIIIII", 3, 116, 0, 0, len(loader) + 1, 0, 4, 0)
    return ident + header + first + second + loader + b"\0"


def test_a_program_that_is_there_and_executable_has_nothing_in_its_way(tree: Tree) -> None:
    tree.place("/opt/tool", SCRIPT)
    assert tree.why("/opt/tool") is None


def test_what_is_in_the_way_is_named_with_the_file(tree: Tree) -> None:
    assert tree.why("/opt/tool") == "/opt/tool is not there"
    tree.place("/opt/tool", SCRIPT, mode=0o640)
    assert tree.why("/opt/tool") == "/opt/tool is not executable (mode 0640)"
    assert tree.why("/opt") == "/opt is not a regular file"
    assert tree.why("/opt/tool/below") == "/opt/tool/below is not there"


def test_a_link_is_followed_inside_the_root(tree: Tree) -> None:
    tree.place("/opt/real", SCRIPT)
    (tree.directory / "opt/tool").symlink_to("/opt/real")
    assert tree.why("/opt/tool") is None
    (tree.directory / "opt/real").unlink()
    assert tree.why("/opt/tool") == "/opt/tool is not there"
    (tree.directory / "opt/real").symlink_to("tool")
    assert "/opt/tool can't be reached" in str(tree.why("/opt/tool"))


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("#!/opt/shell", "/opt/shell"),
        ("#! \t/opt/shell -e", "/opt/shell"),
        ("#!/bin/sh\r", "/bin/sh\r"),
    ],
)
def test_the_interpreter_of_a_script_has_to_be_there_too(tree: Tree, line: str, named: str) -> None:
    tree.place("/opt/tool", f"{line}\n".encode())
    assert tree.why("/opt/tool") == f"{named}, the interpreter of /opt/tool, is not there"


def test_the_interpreter_of_an_interpreter_counts(tree: Tree) -> None:
    tree.place("/opt/tool", b"#!/opt/shell\n")
    tree.place("/opt/shell", b"#!/opt/other\n")
    assert tree.why("/opt/tool") == "/opt/other, the interpreter of /opt/shell, is not there"
    tree.place("/opt/other", b"#!/opt/tool\n")
    assert tree.why("/opt/tool") is None, "a circle is the kernel's to refuse; it ends here"


@pytest.mark.parametrize("wide", [True, False], ids=["64 bits", "32 bits"])
@pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])
def test_the_loader_of_an_elf_file_has_to_be_there(tree: Tree, wide: bool, order: str) -> None:  # noqa: FBT001
    tree.place("/opt/tool", elf(b"/lib/ld.so", wide=wide, order=order))
    assert tree.why("/opt/tool") == "/lib/ld.so, the interpreter of /opt/tool, is not there"
    tree.place("/lib/ld.so", b"\x7fELF")
    assert tree.why("/opt/tool") is None


def test_a_real_program_names_its_loader(tree: Tree) -> None:
    shutil.copy(Path("/bin/sh").resolve(), tree.directory / "bin/sh")
    (_, loader) = chain(tree.root, "/bin/sh")
    assert "ld-" in loader
    assert tree.why("/bin/sh") == f"{loader}, the interpreter of /bin/sh, is not there"
    assert obstacle(HostRoot(root="/"), "/bin/sh") is None


def test_a_damaged_or_unreadable_head_names_no_interpreter(tree: Tree) -> None:
    for content in (b"", b"#!", b"#!\n", b"\x7fELF", elf(b"/lib/ld.so")[:100]):
        tree.place("/opt/tool", content)
        assert tree.why("/opt/tool") is None
    os.mkfifo(tree.directory / "opt/fifo")
    assert tree.why("/opt/fifo") == "/opt/fifo is not a regular file"


def test_a_bare_name_is_looked_up_as_the_engine_does(tree: Tree) -> None:
    assert tree.why("runc") is None, "a PATH that can't be read proves nothing"
    assert (
        tree.why("runc", "/sbin", "/opt")
        == "runc is in no directory of the engine's PATH (/sbin:/opt)"
    )
    tree.place("/sbin/runc", SCRIPT, mode=0o644)
    assert tree.why("runc", "/sbin", "/opt") is not None
    tree.place("/opt/runc", SCRIPT)
    assert tree.why("runc", "/sbin", "/opt") is None


def test_the_engines_root_is_its_own_the_hosts_or_not_to_be_told(tree: Tree) -> None:
    host = HostRoot(root="/")
    assert root_of("", host) is host
    own = root_of(f"/proc/{os.getpid()}/root", host)
    assert own is not None
    assert own.root == f"/proc/{os.getpid()}/root"
    assert root_of(str(tree.directory / "gone"), host) is None
    elsewhere = HostRoot(root=str(tree.directory))
    assert root_of(f"/proc/{os.getpid()}/root", elsewhere) is elsewhere, "paths mean other files"
