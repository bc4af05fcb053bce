"""Whoever appends to a file that is replaced or removed, stopped at any moment, loses nothing.

An append is three acts: its path is looked up, the file is opened, the line is written. Each comes
at any moment of the change: before each call, and at each look of the wait for those who write.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from itertools import combinations_with_replacement
from pathlib import Path

import pytest

from tests.fakes.faulty_syscalls import CrashPoint, FaultySyscalls
from tests.faults.steps import WithoutWaiting
from toolkit.errors import ConcurrentEditError
from toolkit.host.host_files import HostFiles
from toolkit.host.paths import HostRoot

PATH = "/etc/config.toml"
OLD, NEW = b"old = 1\n", b"old = 1\nours = 2\n"


class Append:
    """Appends a line in three acts, each at its moment, in a thread: a lease makes it wait."""

    def __init__(self, config: Path, line: bytes, moments: tuple[int, int, int]) -> None:
        self.line, self.written, self.late = line, False, False
        self._config, self._moments = config, moments
        self._found, self._inode = -1, 0
        self._opened, self._writes = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._append)

    def at(self, moment: int, *, waited_for: bool) -> None:
        """Do what comes at a moment.

        ``late`` is one that opens the file after the last look at it, which nothing can help.
        """
        look_up, opens, writes = self._moments
        if moment == look_up:
            try:
                self._found = os.open(self._config, os.O_PATH)
            except FileNotFoundError:
                return
            self._inode = os.fstat(self._found).st_ino
        if self._found < 0:
            return
        if moment == opens:
            self._thread.start()
            while not self._opened.wait(0.0002) and not self._is_held_up():
                pass
            gone = os.fstat(self._found).st_nlink == 0
            self.late = not waited_for and (gone or not self._opened.is_set())
        if moment == writes:
            self._writes.set()
            if self._opened.wait(0 if self._is_held_up() else None):
                self._thread.join()

    def end(self) -> None:
        """Let it come to its end."""
        self._writes.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._found >= 0:
            os.close(self._found)

    def _append(self) -> None:
        with open(f"/proc/self/fd/{self._found}", "ab", buffering=0) as stream:
            self._opened.set()
            self._writes.wait()
            stream.write(self.line)
        self.written = True

    def _is_held_up(self) -> bool:
        """Tell whether the file is being opened and has to wait for our lease."""
        locks = Path("/proc/locks").read_text()
        return any("BREAKING" in each and f":{self._inode} " in each for each in locks.splitlines())


class Meanwhile(FaultySyscalls):
    """Somebody acts before each call, and whenever there is a wait."""

    def __init__(self, act: Callable[[int, bool], None], at: int | None = None) -> None:
        super().__init__(at=at, real=WithoutWaiting(lambda _seconds: self._tick(waits=True)))
        self.moments = 0
        self._act = act

    def _step(self, name: str) -> None:
        self._tick(waits=False)
        super()._step(name)

    def _tick(self, *, waits: bool) -> None:
        self._act(self.moments, waits)
        self.moments += 1


class Place:
    """A host with one config, which a change is made to while lines are appended."""

    def __init__(self, directory: Path, change: Callable[[HostFiles], None]) -> None:
        self.config = directory / "host/etc/config.toml"
        self.config.parent.mkdir(parents=True)
        self._change = change

    def files(self, calls: FaultySyscalls | None = None) -> HostFiles:
        return HostFiles(HostRoot.detect(str(self.config.parents[1])), calls)

    def run(self, appends: list[Append], crash: int | None = None) -> Meanwhile:
        """Change the file; what a kill left is cleaned up."""
        self.config.write_bytes(OLD)

        def act(moment: int, waits: bool) -> None:  # noqa: FBT001 - a callback
            for each in appends:
                each.at(moment, waited_for=waits)

        calls = Meanwhile(act, crash)
        try:
            self._change(self.files(calls))
        except (ConcurrentEditError, CrashPoint):
            pass
        finally:
            for each in appends:
                each.end()
        self.files().clean_leftovers("/etc")
        return calls

    def check(self, appends: list[Append], said: object) -> None:
        """Look for each line and for leftovers."""
        content = self.config.read_bytes() if self.config.exists() else None
        for each in appends:
            if each.written and not each.late:
                assert content is not None, said
                assert content.count(each.line) == 1, said
            content = content and content.replace(each.line, b"")
        assert content in (OLD, NEW, OLD[:4], None), said
        names = {each.name for each in self.config.parent.iterdir()}
        assert names <= {self.config.name}, said


def replaced(files: HostFiles) -> None:
    files.write(PATH, NEW, instead_of=(OLD,))


def shortened(files: HostFiles) -> None:
    """The old file begins as the new one does, as one that our block is cut from."""
    files.write(PATH, OLD[:4], instead_of=(OLD,))


def removed(files: HostFiles) -> None:
    files.remove(PATH, instead_of=(OLD,))


CHANGES = pytest.mark.parametrize("change", [replaced, shortened, removed])


def moments_of(place: Place, least: int = 0) -> Iterator[tuple[int, int, int]]:
    """Return the moments of the three acts in their order: of the last one only some."""
    number = place.run([]).moments + 2
    for found, opened in combinations_with_replacement(range(least, number), 2):
        for written in {opened, opened + 1, opened + 4, number}:
            yield found, opened, written


@CHANGES
def test_a_line_is_kept_whenever_it_is_appended(
    tmp_path: Path, change: Callable[[HostFiles], None]
) -> None:
    place = Place(tmp_path.resolve(), change)
    late = kept = 0
    for moments in moments_of(place):
        append = Append(place.config, b"# theirs\n", moments)
        done = place.run([append]).done
        place.check([append], (moments, done))
        late += append.late
        kept += append.written and not append.late
    assert kept > late


@CHANGES
def test_a_line_is_kept_whenever_the_change_is_killed(
    tmp_path: Path, change: Callable[[HostFiles], None]
) -> None:
    place = Place(tmp_path.resolve(), change)
    calls = len(place.run([]).done)
    for crash in range(calls + 8):
        for found, opened, written in moments_of(place):
            if opened in {found, found + 3}:
                append = Append(place.config, b"# theirs\n", (found, opened, written))
                done = place.run([append], crash).done
                place.check([append], (crash, found, opened, written, done))


def test_lines_to_each_of_two_files_are_kept(tmp_path: Path) -> None:
    # The first makes the old file come back; the second may have found ours by then.
    place = Place(tmp_path.resolve(), replaced)
    kept = 0
    for first in ((0, 0, 8), (6, 9, 9)):
        for moments in moments_of(place, least=first[0]):
            appends = [
                Append(place.config, b"# first\n", first),
                Append(place.config, b"# second\n", moments),
            ]
            done = place.run(appends).done
            place.check(appends, (first, moments, done))
            kept += done.count("exchange") == 2 and appends[1].written
    assert kept
