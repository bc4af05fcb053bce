"""Somebody edits a config file while it is being written, restored or reverted: the edit stays."""

from __future__ import annotations

import contextlib
import tomllib
from collections import Counter
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import pytest
from msgspec.structs import replace

from runtime_configs.model import HostView, Version
from tests.fakes.faulty_syscalls import CrashPoint
from tests.faults.node_host import CONFIG, FaultHost
from tests.faults.steps import SHORT, Steps, points
from toolkit.apply.setup import set_up as set_up_node
from toolkit.errors import ToolkitError
from toolkit.host.clock import UninterruptedClock
from toolkit.node import Node
from toolkit.undo.recovery import recover
from toolkit.undo.revert import revert_record

BY_HAND = b"# by hand\nversion = 2\n"
EDIT = b'\n[debug]\nlevel = "info" # theirs\n'
LINE = b"# through an old descriptor\n"
VERSIONS = [Version(major=1, minor=7), Version(major=2, minor=1)]
Act = Callable[[FaultHost, Steps], object]


def set_up(host: FaultHost, steps: Steps) -> object:
    return host.set_up(steps)


def set_up_that_fails(host: FaultHost, steps: Steps) -> object:
    host.engine.refuses = lambda handlers: "not this one" if "nvidia" in handlers else None
    return host.set_up(steps)


def revert(host: FaultHost, steps: Steps) -> object:
    return host.revert(steps)


def repair(host: FaultHost, steps: Steps) -> object:
    return host.set_up(steps, repair=True)


@pytest.fixture(params=VERSIONS, ids=["1.7", "2.1"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], FaultHost]:
    def made(name: str) -> FaultHost:
        return FaultHost(tmp_path / name, version=request.param, config=BY_HAND)

    return made


def prepared(host: FaultHost, act: Act) -> FaultHost:
    """Bring a host to where the act begins."""
    if act in (revert, repair):
        host.set_up()
    if act is repair:
        content = (host.read(CONFIG) or b"").replace(b"nvidia-container-runtime.cdi", b"other")
        host.place(CONFIG, content.replace(b"conf.d/", b"conf.x/"))
    return host


@pytest.mark.parametrize(
    "wanted", [SHORT, pytest.param(None, marks=pytest.mark.long)], ids=["short", "full"]
)
@pytest.mark.parametrize("act", [set_up, set_up_that_fails, repair, revert])
def test_an_edit_before_any_step_is_there_in_the_end_and_nothing_of_ours_after_the_revert(
    make: Callable[[str], FaultHost], act: Act, wanted: int | None, counts: Counter[str]
) -> None:
    counting = Steps()
    with contextlib.suppress(ToolkitError):
        act(prepared(make("counting"), act), counting)
    for at in points(len(counting.done) + 1, wanted):
        host = prepared(make(f"at-{at}"), act)
        steps = Steps()

        def edit_once(host: FaultHost = host, steps: Steps = steps, at: int = at) -> None:
            if len(steps.done) == at:
                host.place(CONFIG, (host.read(CONFIG) or b"") + EDIT)

        steps.watch = edit_once
        with contextlib.suppress(ToolkitError):
            act(host, steps)
        if at >= len(steps.done):
            edit_once()
        where = f"{act.__name__}: before step {at}, {steps.done[at : at + 1]}"
        check(host, where)
        host.revert()
        check(host, where)
        content = host.read(CONFIG) or b""
        assert b"nvidia" not in content, where
        assert content.startswith(BY_HAND), where
        counts["edits"] += 1


def check(host: FaultHost, where: str) -> None:
    content = (host.read(CONFIG) or b"").decode()
    assert tomllib.loads(content).get("debug") == {"level": "info"}, f"{where}\n{content}"
    assert "# theirs" in content, where


@pytest.mark.parametrize("act", [set_up, repair, revert])
def test_a_line_that_reaches_the_old_file_at_a_kill_is_there_in_the_end(
    make: Callable[[str], FaultHost], act: Act
) -> None:
    counting = Steps()
    act(prepared(make("counting"), act), counting)
    exchanges = [at for at, name in enumerate(counting.done) if name == "await_writers"]
    for at in exchanges:
        host = prepared(make(f"at-{at}"), act)
        steps = Steps(at=at)
        streams: list[FileIO] = []

        def append(
            host: FaultHost = host,
            steps: Steps = steps,
            at: int = at,
            streams: list[FileIO] = streams,
        ) -> None:
            if len(steps.done) == at - 1:
                streams.append((host.root / CONFIG[1:]).open("ab", buffering=0))
            if len(steps.done) == at:
                with streams.pop() as stream:
                    stream.write(LINE)

        steps.watch = append
        with pytest.raises(CrashPoint):
            act(host, steps)
        assert not streams
        if act is not revert:
            host.set_up()
            assert (host.read(CONFIG) or b"").count(LINE) == 1
        host.revert()
        content = host.read(CONFIG) or b""
        assert content.startswith(BY_HAND)
        assert content.count(LINE) == 1
        assert b"nvidia" not in content


class Read:
    """A view of a host on which somebody appends to the config after it was read so often."""

    def __init__(self, host: FaultHost, view: HostView, reads: int) -> None:
        self.left = reads
        self._host, self._view = host, view

    def read(self, path: str) -> bytes | None:
        content = self._view.read(path)
        if path == CONFIG:
            self.left -= 1
            if self.left == 0:
                self._host.place(CONFIG, (content or b"") + LINE)
        return content

    def glob(self, pattern: str) -> tuple[str, ...]:
        return self._view.glob(pattern)

    def is_directory(self, path: str) -> bool:
        return self._view.is_directory(path)


def revert_with(node: Node) -> None:
    record = recover(node, reverts=True)
    assert record is not None
    revert_record(node, record)


@pytest.mark.parametrize("act", [set_up, repair, revert])
def test_a_line_that_is_appended_between_two_reads_is_kept(
    make: Callable[[str], FaultHost], act: Act
) -> None:
    reads, done = 1, False
    while not done:
        host = prepared(make(f"after-{reads}"), act)
        node = host.node()
        view = Read(host, node.view, reads)
        node = replace(node, view=view)
        with contextlib.suppress(ToolkitError):
            if act is revert:
                revert_with(node)
            else:
                set_up_node(node, UninterruptedClock(), patience=0.0)
        done = view.left > 0
        if not done:
            assert (host.read(CONFIG) or b"").count(LINE) == 1, reads
            host.revert()
            assert (host.read(CONFIG) or b"").count(LINE) == 1, reads
        reads += 1
    assert reads > 2


def test_an_edit_of_the_runtimes_config_before_any_step_is_kept(
    make: Callable[[str], FaultHost],
) -> None:
    path = "/usr/local/nvidia/toolkit/.config/nvidia-container-runtime/config.toml"

    def upgraded(host: FaultHost, steps: Steps | None = None) -> None:
        host.release = "2.0.0"
        host.set_up(steps)

    def prepared_host(name: str) -> FaultHost:
        host = make(name)
        host.set_up()
        return host

    counting = Steps()
    upgraded(prepared_host("counting"), counting)
    last = max(at for at, name in enumerate(counting.done) if name == "exchange")
    for at in (counting.done.index("create"), *range(last - 3, last + 3)):
        host = prepared_host(f"at-{at}")
        steps = Steps()

        def edit(host: FaultHost = host, steps: Steps = steps, at: int = at) -> None:
            if len(steps.done) == at and (content := host.read(path)) is not None:
                host.place(path, content.replace(b'log-level = "info"', b'log-level = "debug"'))

        steps.watch = edit
        upgraded(host, steps)
        assert b'log-level = "debug"' in (host.read(path) or b""), steps.done[at]
