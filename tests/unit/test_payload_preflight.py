"""What is found out about the host before a byte is written."""

from __future__ import annotations

import os
import platform
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from testbed.payload_host import PayloadHost, settings_of, snapshot
from toolkit.payload.elf import read_elf
from toolkit.payload.preflight import MisfitError, problems_of
from toolkit.payload.source import find_payload

LIBC = next(
    (
        path
        for path in (
            Path(f"/lib/{platform.machine()}-linux-gnu/libc.so.6"),
            Path("/lib64/libc.so.6"),
        )
        if path.exists()
    ),
    None,
)
needs_glibc = pytest.mark.skipif(LIBC is None, reason="no glibc here")
UNMOUNT = ("umount",)
MACHINES = {"x86_64": 62, "aarch64": 183}


def elf(machine: str, needs: Sequence[str] = (), defines: Sequence[str] = ()) -> bytes:
    """Return a file with just the sections that are looked at."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in (*needs, *defines))
    place = {name: names.index(b"\0" + name.encode() + b"\0") + 1 for name in (*needs, *defines)}
    need = b""
    if needs:
        need = struct.pack("<HHIII", 1, len(needs), 0, 16, 0)
        for number, name in enumerate(needs, 1):
            following = 16 if number < len(needs) else 0
            need += struct.pack("<IHHII", 0, 0, number, place[name], following)
    define = b""
    for number, name in enumerate(defines, 1):
        following = 28 if number < len(defines) else 0
        define += struct.pack("<HHHHIII", 1, 0, number, 1, 0, 20, following)
        define += struct.pack("<II", place[name], 0)
    parts = [(3, names, 0), (0x6FFFFFFE, need, 1), (0x6FFFFFFD, define, 1)]
    body, headers, at = b"", b"\0" * 64, 64
    for kind, content, link in parts:
        if content:
            headers += struct.pack(
                "<IIQQQQIIQQ", 0, kind, 0, 0, at + len(body), len(content), link, 0, 0, 0
            )
            body += content
    count = len(headers) // 64
    start = b"\x7fELF\x02\x01\x01" + b"\0" * 9
    start += struct.pack("<HHIQQQ", 2, MACHINES[machine], 1, 0, 0, at + len(body))
    start += struct.pack("<IHHHHHH", 0, 64, 0, 0, 64, count, 0)
    return start + body + headers


@pytest.fixture
def host(tmp_path: Path) -> PayloadHost:
    made = PayloadHost(tmp_path)
    (made.tree / "bin/sh").write_bytes(elf("x86_64"))
    return made


def problems(host: PayloadHost, size: int = 0) -> tuple[str, ...]:
    settings = settings_of("--toolkit-source-root", str(host.payload()))
    source = find_payload(settings.payload, host.root)
    return problems_of(source, host.root, install_dir="/usr/local/nvidia", size=size)


def libc(host: PayloadHost, *versions: str) -> None:
    place = host.tree / "usr/lib64/libc.so.6"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(elf("x86_64", defines=versions))


def binary(host: PayloadHost, machine: str, *versions: str) -> None:
    (host.payload() / "usr/bin/nvidia-ctk").write_bytes(elf(machine, needs=versions))


@needs_glibc
def test_real_files_are_read() -> None:
    assert LIBC is not None
    libc_facts = read_elf(LIBC)
    shell = read_elf(Path("/bin/sh"))
    assert libc_facts is not None
    assert shell is not None
    assert libc_facts.machine == shell.machine == platform.machine()
    name, version = os.confstr("CS_GNU_LIBC_VERSION").split()  # type: ignore[union-attr]
    assert (name, libc_facts.glibc) == ("glibc", tuple(map(int, version.split("."))))
    assert shell.glibc is not None
    assert libc_facts.glibc is not None
    assert shell.glibc <= libc_facts.glibc


def test_scripts_and_broken_files_are_no_elf(tmp_path: Path) -> None:
    beyond = elf("x86_64", ["GLIBC_2.34"]).replace(struct.pack("<Q", 64), b"\xff" * 8)
    short = b"\x7fELF\x02\x01" * 20
    for number, content in enumerate((b"#!/bin/sh\n", b"", b"\x7fELF", short, beyond)):
        path = tmp_path / str(number)
        path.write_bytes(content)
        assert read_elf(path) is None or read_elf(path).machine.startswith("machine")  # type: ignore[union-attr]


def test_a_payload_that_fits_has_no_problem(host: PayloadHost) -> None:
    libc(host, "GLIBC_2.17", "GLIBC_2.34", "GLIBC_PRIVATE")
    binary(host, "x86_64", "GLIBC_2.2.5", "GLIBC_2.34")
    assert problems(host) == ()


def test_another_architecture_is_told(host: PayloadHost) -> None:
    binary(host, "aarch64")
    (line,) = problems(host)
    assert "nvidia-ctk is built for aarch64, the host is x86_64" in line


def test_a_newer_glibc_than_the_host_s_is_told(host: PayloadHost) -> None:
    libc(host, "GLIBC_2.17", "GLIBC_2.28", "GLIBC_2.9")
    binary(host, "x86_64", "GLIBC_2.34", "GLIBC_2.4")
    (line,) = problems(host)
    assert "nvidia-ctk needs glibc 2.34, the host has 2.28" in line


def test_a_host_without_glibc_is_told(host: PayloadHost) -> None:
    binary(host, "x86_64", "GLIBC_2.17")
    (line,) = problems(host)
    assert "the host has no glibc" in line


def test_a_host_without_a_shell_is_told(host: PayloadHost) -> None:
    (host.tree / "bin/sh").unlink()
    assert any("the host has no /bin/sh" in line for line in problems(host))


def test_a_target_that_is_too_small_is_told(host: PayloadHost) -> None:
    (line,) = problems(host, size=1 << 60)
    assert "MiB are needed" in line
    assert "--toolkit-install-dir" in line


def test_a_file_in_place_of_the_install_directory_is_told(host: PayloadHost) -> None:
    host.install_dir.write_text("")
    (line,) = problems(host)
    assert "/usr/local/nvidia can't be created" in line


def test_all_problems_come_at_once_and_nothing_is_written(host: PayloadHost) -> None:
    binary(host, "aarch64")
    host.install_dir.write_text("")
    before = snapshot(host.tree)
    with pytest.raises(MisfitError) as error:
        host.install()
    machine, target = error.value.message.split("; ")
    assert "nvidia-ctk is built for aarch64" in machine
    assert "/usr/local/nvidia can't be created" in target
    assert "\n" not in str(error.value)
    assert before == snapshot(host.tree)


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="needs root to mount"
)
@pytest.mark.parametrize(("option", "words"), [("ro", "read-only"), ("noexec", "mounted noexec")])
def test_a_target_that_can_t_hold_programs_is_told(
    host: PayloadHost, option: str, words: str
) -> None:
    # A mount namespace of its own would hide the mount from this process.
    host.install_dir.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", option, "none", str(host.install_dir)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        (line,) = problems(host)
    finally:
        subprocess.run([*UNMOUNT, str(host.install_dir)], check=True)
    assert words in line
