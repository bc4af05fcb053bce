"""The command line: parses it into Settings, and calls one command with them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from toolkit import logs
from toolkit.errors import ExitCode, ToolkitError, UsageError
from toolkit.host.clock import BLOCKED
from toolkit.options import general
from toolkit.options.lookup import GivenFlag, Sources
from toolkit.settings import Output, Settings, Verify

log = logs.get(__name__)

PROGRAM = "nvidia-toolkit"
_INTERRUPTED = 130
"""The exit status that a shell reports for a command that Ctrl-C ended."""


class Commands(Protocol):
    """The commands, each with the settings and its own options."""

    def run(self, settings: Settings) -> ExitCode:
        """Set up, wait, revert."""

    def revert(self, settings: Settings, output: Output, *, purge: bool) -> ExitCode:
        """Restore what an earlier setup changed."""

    def plan(self, settings: Settings, output: Output, *, detailed_exitcode: bool) -> ExitCode:
        """Show what a setup would change."""

    def status(self, settings: Settings, output: Output) -> ExitCode:
        """Show what is installed."""

    def verify(self, settings: Settings, output: Output) -> ExitCode:
        """Ask the engine which handlers it serves."""

    def doctor(self, settings: Settings, output: Output) -> ExitCode:
        """Check the host before anything is done."""


class ProgramCommands:
    """The real commands. Signals come in blocked; commands that change nothing unblock them."""

    def run(self, settings: Settings) -> ExitCode:
        """Set up, wait, revert."""
        from toolkit.daemon import process

        return process.run(settings)

    def revert(self, settings: Settings, output: Output, *, purge: bool) -> ExitCode:
        """Restore what an earlier setup changed."""
        from toolkit.daemon import process
        from toolkit.report import output as printed

        report = process.revert(settings, purge=purge)
        return printed.reverted(report, output, settings.color)

    def plan(self, settings: Settings, output: Output, *, detailed_exitcode: bool) -> ExitCode:
        """Show what a setup would change."""
        from toolkit.report import output as printed

        _default_signals()
        return printed.plan(settings, output, detailed_exitcode=detailed_exitcode)

    def status(self, settings: Settings, output: Output) -> ExitCode:
        """Show what is installed."""
        from toolkit.report import output as printed

        _default_signals()
        return printed.status(settings, output)

    def verify(self, settings: Settings, output: Output) -> ExitCode:
        """Ask the engine which handlers it serves."""
        from toolkit.report import output as printed

        if settings.lifecycle.verify is not Verify.RUN:
            _default_signals()
        return printed.verify(settings, output)

    def doctor(self, settings: Settings, output: Output) -> ExitCode:
        """Check the host before anything is done."""
        from toolkit.report import output as printed

        _default_signals()
        return printed.doctor(settings, output)


def _default_signals() -> None:
    """Handle signals as any program does: there is nothing to undo, and Ctrl-C is quiet."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)


class Request(Struct, frozen=True, kw_only=True):
    """The command to call, with its flags and variables."""

    command: str | None
    """None: set up, wait, revert."""
    sources: Sources


def run(
    arguments: Sequence[str],
    *,
    environ: Mapping[str, str],
    commands: Commands,
    program: str = PROGRAM,
) -> int:
    """Carry out the command line and return the exit code; a failure is one line on stderr."""
    if general.COMPLETE in environ:
        from toolkit.options.completion import complete

        return complete(program, environ[general.COMPLETE])
    return _run(arguments, environ, commands, program)


def _run(
    arguments: Sequence[str], environ: Mapping[str, str], commands: Commands, program: str
) -> int:
    _configure_logs(_output_flags(arguments, environ))
    try:
        request = parse(arguments, environ, program)
        if request is None:
            return _flushed(ExitCode.DONE)
        _configure_logs(request.sources)
        from toolkit.options.build import build_settings  # not needed for help and version

        settings = build_settings(request.sources)
        logs.configure(settings.log_format, debug=settings.debug, color=settings.color)
        for warning in settings.warnings:
            log.warning("settings.adjusted", warning)
        return _flushed(_call(commands, request, settings))
    except ToolkitError as error:
        log.error(
            "usage.refused" if isinstance(error, UsageError) else "program.failed", str(error)
        )
        logs.traceback_of(error)
        _print_failure(arguments, error)
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last resort: one line in place of a traceback
        if isinstance(error, BrokenPipeError) and _reader_went_away():
            return ExitCode.FAILED
        hint = "" if logs.debugging() else "; --debug shows where"
        log.error("program.broken", f"unexpected {type(error).__name__}: {error}{hint}")
        logs.traceback_of(error)
        _print_failure(arguments, ToolkitError(f"unexpected {type(error).__name__}: {error}"))
        return ExitCode.FAILED


def parse(arguments: Sequence[str], environ: Mapping[str, str], program: str) -> Request | None:
    """Split a command line; None if it only asked for help or the version, which is printed.

    Raises UsageError.
    """
    if not arguments:
        return Request(command=None, sources=Sources(environ=environ))
    from toolkit.options.command_line import read  # loads click, which variables alone do not need

    said = read(arguments, program)
    if said is None:
        return None
    return Request(command=said.command, sources=Sources(flags=said.flags, environ=environ))


def _call(commands: Commands, request: Request, settings: Settings) -> ExitCode:
    """Read the options of the command itself and call it."""
    read = request.sources.read
    output = read(general.OUTPUT).value
    detailed_exitcode = read(general.DETAILED_EXITCODE).value
    purge = read(general.PURGE).value
    run = read(general.RUN).value
    if request.command is None:
        return commands.run(settings)
    calls: Mapping[str, Callable[[], ExitCode]] = {
        "plan": lambda: commands.plan(settings, output, detailed_exitcode=detailed_exitcode),
        "revert": lambda: commands.revert(settings, output, purge=purge),
        "status": lambda: commands.status(settings, output),
        "verify": lambda: commands.verify(_verified_by(settings, run=run), output),
        "doctor": lambda: commands.doctor(settings, output),
    }
    return calls[request.command]()


def _verified_by(settings: Settings, *, run: bool) -> Settings:
    """Return the settings of the command `verify`, which ignores what a setup has to verify."""
    verify = Verify.RUN if run else Verify.SERVED
    return replace(settings, lifecycle=replace(settings.lifecycle, verify=verify))


def _output_flags(arguments: Sequence[str], environ: Mapping[str, str]) -> Sources:
    """Return the flags for log and output, even of a command line that cannot be parsed."""
    flags: dict[str, tuple[GivenFlag, ...]] = {}
    for position, argument in enumerate(arguments):
        if argument == "--":
            break
        spelling, equals, value = argument.partition("=")
        for option in (general.LOG_FORMAT, general.DEBUG, general.OUTPUT):
            if spelling.startswith("-") and spelling.lstrip("-") == option.name:
                if not equals:
                    following = arguments[position + 1 : position + 2]
                    value = "true" if option.boolean else "".join(following)
                flags[option.identifier] = (GivenFlag(spelling=spelling, value=value),)
    return Sources(flags=flags, environ=environ)


def _configure_logs(sources: Sources) -> None:
    """Choose the log's form before everything else is checked, so that it applies to errors too."""
    try:
        log_format = sources.read(general.LOG_FORMAT).value
    except UsageError:
        log_format = general.LOG_FORMAT.default
    debug = False
    with contextlib.suppress(UsageError):
        debug = sources.read(general.DEBUG).value
    logs.configure(log_format, debug=debug)


def _print_failure(arguments: Sequence[str], error: ToolkitError) -> None:
    """Print the error as a JSON document, for a command whose result would be one."""
    asked = any(word in general.OUTPUT.commands for word in arguments)
    with contextlib.suppress(UsageError, OSError, ValueError):
        if asked and _output_flags(arguments, {}).read(general.OUTPUT).value is Output.JSON:
            from toolkit.report.terminal import print_json

            print_json(
                {
                    "error": {
                        "kind": ExitCode(error.exit_code).name.lower(),
                        "message": error.message,
                        "fix": error.hint,
                        "exit_code": int(error.exit_code),
                    }
                }
            )
            sys.stdout.flush()


def _flushed(code: ExitCode) -> ExitCode:
    """Write out what was printed while a failure can still be reported."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ToolkitError(f"the result can't be printed: {error.strerror}") from error
    return code


def _reader_went_away() -> bool:
    """Return whether stdout is a pipe without a reader; an engine's connection may break too."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    gone = any(events & select.POLLERR for _, events in poll.poll(0))
    if gone:
        # The interpreter flushes once more at its end and would report the same pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return gone
