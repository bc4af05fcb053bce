"""One call of the command line, with commands that only remember."""

from __future__ import annotations

from collections.abc import Mapping

from tests.fakes.commands import RecordingCommands
from toolkit import cli
from toolkit.errors import UsageError
from toolkit.options.build import build_settings
from toolkit.options.command_line import read
from toolkit.options.lookup import Sources
from toolkit.settings import Settings


def settings_of(*arguments: str, **environ: str) -> Settings:
    """Return what the program would run with; raises UsageError."""
    line = read(arguments)
    if line.error is not None:
        raise line.error
    if line.shown is not None:
        raise UsageError(f"asked for {line.shown}")
    return build_settings(Sources(flags=line.flags, environ=environ))


def refusal(*arguments: str, **environ: str) -> str | None:
    """Return the line with which the program refuses to run, or None where it would."""
    try:
        settings_of(*arguments, **environ)
    except UsageError as error:
        return str(error)
    return None


def settings_from(environ: Mapping[str, str]) -> Settings:
    return build_settings(Sources(environ=environ))


def call(
    *arguments: str, commands: RecordingCommands | None = None, **environ: str
) -> tuple[int, RecordingCommands]:
    """Run the program with fake commands; return the exit code and what was called."""
    recorder = commands or RecordingCommands()
    code = cli.run(arguments, environ=environ, commands=recorder)
    return code, recorder
