"""The engine's effective config and version, from the first source that works."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

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


def engine_version(
    live: str | None, executable: str | None, commands: CommandRunner, deadline: float
) -> tuple[Version | None, Source | None]:
    """Return the version that the daemon reports, else its program's, and where it was read."""
    if live is not None and (version := parse_version(live)):
        return version, Source.LIVE
    if executable is None:
        return None, None
    result = commands.run((executable, "--version"), wait.left(deadline, _AT_LEAST))
    version = parse_version(result.output.decode(errors="replace"))
    return version, None if version is None else Source.COMMAND


class Effective(Struct, frozen=True, kw_only=True):
    """The config, its source, and why earlier sources did not work."""

    config: EffectiveConfig | None
    source: Source | None
    failures: tuple[str, ...]


class ConfigSources(Struct, frozen=True, kw_only=True):
    """Where the engine's effective config can be read."""

    live: bytes | None
    """What the running daemon reports."""
    dump: tuple[str, ...] | None
    """The dump command, if there is a binary to run."""
    file: str
    """The top-level config, for ``file`` without a path."""
    deadline: float
    """For the dump command."""
    commands: CommandRunner
    view: HostView

    def effective(
        self, order: Iterable[str], decode: Callable[[bytes], EffectiveConfig]
    ) -> Effective:
        """Read the effective config from the first source that works.

        ``order`` has ``live``, ``command``, ``file`` or ``file=/path``.
        """
        failures: list[str] = []
        for each in order:
            name, _, path = each.partition("=")
            source = Source(name)
            content = self._content(source, path or self.file)
            if isinstance(content, str):
                failures.append(f"{source}: {content}")
                continue
            try:
                return Effective(config=decode(content), source=source, failures=tuple(failures))
            except ConfigError as error:
                failures.append(f"{source}: {error}")
        return Effective(config=None, source=None, failures=tuple(failures))

    def _content(self, source: Source, path: str) -> bytes | str:
        """Return the bytes of a source, or why there are none."""
        if source is Source.LIVE:
            return self.live or "the daemon could not be asked"
        if source is Source.FILE:
            content = self.view.read(path)
            return f"{path} is not there" if content is None else content
        if self.dump is None:
            return "there is no binary of the engine to run"
        result = self.commands.run(self.dump, wait.left(self.deadline, _AT_LEAST))
        return result.output if result.status == 0 else result.reason
