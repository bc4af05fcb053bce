"""A directory that is exchanged for a link at any moment lets nothing be done outside the root."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.fakes.faulty_syscalls import FaultySyscalls
from toolkit.errors import ToolkitError
from toolkit.host.host_files import HostFiles
from toolkit.host.paths import HostRoot
from toolkit.host.view import HostFilesView
from toolkit.host.writer import FileMetadata, NewLink

SWAPPED = ("etc", "etc/engine", "etc/engine/conf.d")
FILE = "/etc/engine/conf.d/99.toml"
TREE = "/etc/engine/conf.d/tree"
OURS = FileMetadata(mode=0o644)

ACTS: dict[str, Callable[[HostFiles], object]] = {
    "read": lambda files: files.read(FILE),
    "write": lambda files: files.write(FILE, b"ours"),
    "write a new one": lambda files: files.write(f"{FILE}.new", b"ours"),
    "replace": lambda files: files.write(FILE, b"ours", instead_of=(b"theirs",)),
    "remove": lambda files: files.remove(FILE),
    "remove what is known": lambda files: files.remove(FILE, instead_of=(b"theirs",)),
    "remove a link": lambda files: files.remove_link("/etc/engine/conf.d/link"),
    "make directories": lambda files: files.make_directories("/etc/engine/conf.d/a/b", 0o700),
    "remove a directory": lambda files: files.remove_directory("/etc/engine/conf.d/empty"),
    "exchange": lambda files: files.exchange(TREE, "/etc/engine/conf.d/other"),
    "rename": lambda files: files.rename(TREE, "/etc/engine/conf.d/new"),
    "link": lambda files: files.link("/etc/engine/conf.d/link", "elsewhere"),
    "create a file": lambda files: files.create(f"{TREE}/new", b"ours", OURS),
    "create a directory": lambda files: files.create(f"{TREE}/new", None, OURS),
    "create a link": lambda files: files.create(f"{TREE}/new", NewLink(target="x"), OURS),
    "sync a tree": lambda files: files.sync_tree(TREE),
    "remove a tree": lambda files: files.remove_tree(TREE),
    "clean": lambda files: files.clean_leftovers("/etc/engine/conf.d"),
}


def grow(root: Path, content: bytes) -> None:
    """Make the same tree inside and outside, so that each name leads somewhere on either side."""
    config = root / "etc/engine/conf.d"
    for directory in ("tree/sub", "other", "empty"):
        (config / directory).mkdir(parents=True)
    for name in ("99.toml", "tree/file", "tree/sub/file", ".nvidia-toolkit-0123456789ab.new"):
        (config / name).write_bytes(content)
    (config / "link").symlink_to("99.toml")


def seen(root: Path) -> dict[str, tuple[int, bytes]]:
    """Return what is there: names, modes and contents."""
    return {
        str(path.relative_to(root)): (
            path.lstat().st_mode,
            path.read_bytes() if path.is_file() and not path.is_symlink() else b"",
        )
        for path in root.rglob("*")
    }


class Place:
    """A host root with a twin outside of it."""

    def __init__(self, directory: Path) -> None:
        self.host, self.outside = directory / "host", directory / "outside"
        grow(self.host, b"theirs")
        grow(self.outside, b"outside")

    def swap(self, name: str) -> None:
        """Put a link to the twin in the place of a directory."""
        (self.host / name).rename(self.host / f"{name}.moved")
        (self.host / name).symlink_to(self.outside / name)


class Swapping(FaultySyscalls):
    """A directory is exchanged before the call ``at``."""

    def __init__(self, at: int | None, swap: Callable[[], None]) -> None:
        super().__init__()
        self._when, self._swap = at, swap

    def _step(self, name: str) -> None:
        if len(self.done) == self._when:
            self._swap()
        super()._step(name)


def attempt(files: HostFiles, act: Callable[[HostFiles], object]) -> None:
    try:
        act(files)
    except ToolkitError:
        return  # in one line, which is another test's subject


@pytest.mark.parametrize("name", SWAPPED)
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
def test_an_exchange_before_any_call_reaches_nothing_outside(
    tmp_path: Path, name: str, act: Callable[[HostFiles], object]
) -> None:
    base = tmp_path.resolve()
    whole = Swapping(None, lambda: None)
    act(HostFiles(HostRoot.detect(str(Place(base / "whole").host)), whole))
    for at in range(len(whole.done)):
        place = Place(base / str(at))
        before = seen(place.outside)
        calls = Swapping(at, lambda place=place: place.swap(name))  # type: ignore[misc]
        attempt(HostFiles(HostRoot.detect(str(place.host)), calls), act)
        assert (place.host / name).is_symlink()
        assert seen(place.outside) == before, whole.done[at]


def test_an_exchange_at_any_look_reaches_nothing_outside(tmp_path: Path) -> None:
    # Which files Python opens, lists and changes is told by its audit events, for ever: in a
    # process of its own.
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.test_writer_swaps", str(tmp_path.resolve())],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.stderr == ""
    counts: Mapping[str, int] = json.loads(done.stdout)
    assert min(counts.values()) > 0
    assert set(counts) == {*ACTS, "view"}


def _read_by_view(files: HostFiles) -> object:
    return HostFilesView(files._root).read(FILE)


def _at_every_look(base: Path) -> None:
    """Carry out each act once for each of its events, exchanging a directory just before."""
    left = -1
    on_zero: Callable[[], None] = lambda: None  # noqa: E731 - replaced for each run

    def hook(event: str, _arguments: tuple[object, ...]) -> None:
        nonlocal left
        if left >= 0 and (event == "open" or event.startswith("os.")):
            left -= 1
            if left < 0:
                on_zero()

    sys.addaudithook(hook)
    acts = {**ACTS, "view": _read_by_view}
    counts = dict.fromkeys(acts, 0)
    for kind, act in acts.items():
        for name in SWAPPED:
            at, reached = 0, True
            while reached:
                place = Place(base / kind / name / str(at))
                files = HostFiles(HostRoot.detect(str(place.host)))
                before = seen(place.outside)

                def swap(place: Place = place, name: str = name) -> None:
                    place.swap(name)

                on_zero, left = swap, at
                try:
                    result = act(files)
                except ToolkitError:
                    result = None
                reached, left = left < 0, -1
                content = getattr(result, "content", result)
                if seen(place.outside) != before or content == b"outside":
                    raise AssertionError(f"{kind}, {name}, at {at}")
                counts[kind] += reached
                at += 1
    print(json.dumps(counts))  # noqa: T201 - its answer


if __name__ == "__main__":
    _at_every_look(Path(sys.argv[1]))
