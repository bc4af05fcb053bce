"""The script that stays until the engine has deleted the installer's own container."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.fakes.memory_files import MemoryFiles
from toolkit.engine.facts import OwnContainer
from toolkit.payload.parting import Parting, directories_left, leave, prepare
from toolkit.payload.wrappers import engine_runtime_of, wrapper

NAME = "nvidia-container-runtime"
RUNTIME = '#!/bin/sh\necho "$@" >>"{log}"\nexit "$(cat "{status}")"\n'


class Place:
    """A toolkit directory with a script in it, and a low-level runtime that notes its calls."""

    def __init__(self, directory: Path, *containers: str) -> None:
        self.made = directory / "made by us"
        self.toolkit = self.made / "toolkit"
        self.toolkit.mkdir(parents=True)
        self.log, self.status = directory / "log", directory / "status"
        self.status.write_text("0")
        runtime = directory / "runc"
        runtime.write_text(RUNTIME.format(log=self.log, status=self.status))
        runtime.chmod(0o755)
        text = wrapper(NAME, str(self.toolkit), str(runtime))
        files = MemoryFiles.holding({f"{self.toolkit}/{NAME}": text})
        own = [OwnContainer(identifier=each, binary=f"/x/{NAME}") for each in containers]
        self.parting = prepare(files, str(self.toolkit), own, [str(self.made)])
        (script,) = self.parting.scripts.values()
        (self.toolkit / NAME).write_bytes(script)
        (self.toolkit / NAME).chmod(0o755)
        for each in containers:
            (self.toolkit / f".waits-for-{each}").touch()

    def run(self, *arguments: str) -> int:
        return subprocess.run((self.toolkit / NAME, *arguments), check=False).returncode


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, "one", "two")


def test_it_is_the_low_level_runtime_and_goes_after_the_last_delete(place: Place) -> None:
    assert place.run("--root", "/r", "kill", "one", "9") == 0
    assert place.run("--root", "/r", "delete", "--force", "one") == 0
    assert place.toolkit.exists()
    place.status.write_text("1")
    assert place.run("--root", "/r", "delete", "two") == 1, "the runtime's own exit code"
    assert not place.made.exists()
    assert place.log.read_text().splitlines()[-1] == "--root /r delete two"


def test_another_containers_delete_ends_nothing(place: Place) -> None:
    assert place.run("delete", "three") == 0
    assert sorted(each.name for each in place.toolkit.iterdir()) == [
        *(".waits-for-one", ".waits-for-two", NAME)
    ]


def test_what_has_taken_its_place_meanwhile_stays(place: Place) -> None:
    script = (place.toolkit / NAME).read_bytes()
    for each in place.toolkit.iterdir():
        each.unlink()
    beside = place.made / "old"
    beside.write_bytes(script)
    beside.chmod(0o755)
    (place.toolkit / NAME).write_text("of the next payload")
    assert subprocess.run((beside, "delete", "one"), check=False).returncode == 0
    assert (place.toolkit / NAME).exists()


def test_a_directory_that_somebody_uses_stays(place: Place) -> None:
    (place.made / "theirs").touch()
    place.run("delete", "one")
    place.run("delete", "two")
    assert [each.name for each in place.made.iterdir()] == ["theirs"]


def test_the_next_start_learns_what_directories_are_left_to_it(place: Place) -> None:
    files = MemoryFiles()
    leave(files, place.parting)
    assert directories_left(files, str(place.toolkit)) == (str(place.made),)
    assert directories_left(MemoryFiles(), str(place.toolkit)) == ()


def test_without_a_container_of_our_own_nothing_is_left() -> None:
    files = MemoryFiles()
    parting = prepare(files, "/opt/toolkit", (), ["/opt"])
    leave(files, parting)
    assert parting == Parting()
    assert not files.read(f"/opt/toolkit/{NAME}")


def test_the_low_level_runtime_is_read_from_our_own_wrappers_alone() -> None:
    text = wrapper(NAME, "/opt/tool kit", "/usr/bin/my runc")
    assert engine_runtime_of(text) == "/usr/bin/my runc"
    assert engine_runtime_of(b'#!/bin/sh\nexec /usr/bin/runc "$@"\n') is None
    assert engine_runtime_of(b"\x7fELF '") is None
