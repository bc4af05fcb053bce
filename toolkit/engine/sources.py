"""The engine's effective config and version, from the first source that works."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial

from msgspec import Struct

from runtime_configs.model import ConfigError, EffectiveConfig, HostView, Version
from toolkit.engine import wait
from toolkit.engine.facts import Source
from toolkit.host.commands import CommandRunner

_VERSION = r"(?<![\w.])v?(\d+)\.(\d+)(?:\.(\d+))?[\w.~+-]*"
_AT_LEAST = 3.0
"""Minimum seconds for the engine's own program. A dump takes less than 0.1 s, but its 50 MB may
first be read from a slow disk, and the file alone does not show the effective config."""


def parse_version(text: str) -> Version | None:
    """Return the version in an engine's output, such as ``1.6.20~ds1`` or ``v2.1.0-rc.1``."""
    match = re.search(_VERSION, text)
    if match is None:
        return None
    major, minor, patch = match.groups(default="0")
    return Version(major=int(major), minor=int(minor), patch=int(patch), text=match[0])


def command_seconds(deadline: float) -> float:
    """Return the time limit for a program of the engine; ``deadline`` is monotonic."""
    return wait.left(deadline, _AT_LEAST)


class SourceRequest(Struct, frozen=True, kw_only=True):
    """The inputs for reading the effective config."""

    sources: tuple[str, ...]
    """``live``, ``command``, ``file`` or ``file=/path``, in order of preference."""
    live: bytes | None
    """What the running daemon reports."""
    dump: tuple[str, ...] | None
    """The dump command, if there is a binary to run."""
    file: str
    """The top-level config, for ``file`` without a path."""
    deadline: float
    """For the dump command, monotonic."""


class Effective(Struct, frozen=True, kw_only=True):
    """The config, its source, and why earlier sources did not work."""

    config: EffectiveConfig | None
    source: Source | None
    failures: tuple[str, ...]


def effective(
    request: SourceRequest,
    commands: CommandRunner,
    view: HostView,
    decode: Callable[[bytes], EffectiveConfig],
) -> Effective:
    """Read the effective config from the first source that works."""
    failures: list[str] = []
    for source, read in _readers(request, commands, view):
        content = read()
        if isinstance(content, str):
            failures.append(f"{source}: {content}")
            continue
        try:
            return Effective(config=decode(content), source=source, failures=tuple(failures))
        except ConfigError as error:
            failures.append(f"{source}: {error}")
    return Effective(config=None, source=None, failures=tuple(failures))


def _readers(
    request: SourceRequest, commands: CommandRunner, view: HostView
) -> Iterator[tuple[Source, Callable[[], bytes | str]]]:
    """Yield each source with a function that returns its bytes, or why there are none."""

    def live() -> bytes | str:
        return request.live or "the daemon could not be asked"

    def dump() -> bytes | str:
        if request.dump is None:
            return "there is no binary of the engine to run"
        result = commands.run(request.dump, command_seconds(request.deadline))
        return result.output if result.status == 0 else result.reason

    for source in request.sources:
        name, _, path = source.partition("=")
        if name == Source.LIVE:
            yield Source.LIVE, live
        elif name == Source.COMMAND:
            yield Source.COMMAND, dump
        else:
            yield Source.FILE, partial(_file, view, path or request.file)


def _file(view: HostView, path: str) -> bytes | str:
    content = view.read(path)
    return content if content is not None else f"{path} is not there"
