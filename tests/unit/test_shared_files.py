"""The manual page and the completion scripts: written from the table, installed, working."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from toolkit.options.catalog import OPTIONS
from toolkit.options.document import shared_files
from toolkit.options.usage import SUMMARIES

ROOT = Path(__file__).parents[2]
SHARE = ROOT / "share"


@pytest.mark.parametrize("name", sorted(shared_files()))
def test_the_file_is_fresh(name: str) -> None:
    assert (SHARE / name).read_text() == shared_files()[name], "make docs"


def test_the_package_and_the_image_install_every_file() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    installed = document["tool"]["setuptools"]["data-files"]
    expected = {f"share/{name}" for name in shared_files()}
    assert {file for files in installed.values() for file in files} == expected
    for directory, files in installed.items():
        assert [os.path.dirname(file) for file in files] == [directory]
    assert "COPY share tree/usr/local/share\n" in (ROOT / "Dockerfile").read_text()


def test_the_manual_page_has_every_option_and_command() -> None:
    page = (SHARE / "man/man1/nvidia-toolkit.1").read_text().replace("\\-", "-")
    for option in OPTIONS:
        assert (f".B {', '.join(option.flags)}" in page) is not option.hidden
    for command in SUMMARIES:
        assert f"\n.B {command}\n" in page


@pytest.mark.skipif(not Path("/usr/bin/groff").exists(), reason="groff is not installed")
def test_the_manual_page_is_well_formed() -> None:
    done = subprocess.run(
        ("/usr/bin/groff", "-man", "-ww", "-z", "-Tutf8", SHARE / "man/man1/nvidia-toolkit.1"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


def completed(words: str) -> list[str]:
    """Return what bash gets for a command line that ends at this point."""
    given = {
        "_NVIDIA_TOOLKIT_COMPLETE": "bash_complete",
        "COMP_WORDS": f"nvidia-toolkit {words}",
        "COMP_CWORD": str(len(words.split(" "))),
    }
    done = subprocess.run(
        (sys.executable, "-m", "toolkit"), env=given, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.split()]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", list(SUMMARIES)),
        ("re", ["revert"]),
        ("doctor --out", ["--output"]),
        ("plan --detailed", ["--detailed-exitcode"]),
        ("--runtime c", ["containerd", "crio"]),
        ("--restart-mode=s", ["signal", "systemd"]),
        ("--ignore-err", []),
    ],
)
def test_commands_flags_and_words_are_completed(words: str, expected: list[str]) -> None:
    assert sorted(completed(words)) == sorted(expected)


def test_bash_loads_the_script_and_gets_the_commands(tmp_path: Path) -> None:
    program = tmp_path / "nvidia-toolkit"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec {sys.executable} -m toolkit "$@"\n')
    program.chmod(0o755)
    script = (
        f'. "{SHARE}/bash-completion/completions/nvidia-toolkit"\n'
        "COMP_WORDS=(nvidia-toolkit ve) COMP_CWORD=1\n"
        "_nvidia_toolkit_completion nvidia-toolkit\n"
        'echo "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ("/bin/bash", "-c", script),
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "verify", done.stderr
