"""The command line: parses it into Settings, and calls one command with them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Mapping, Sequence

from toolkit import logs
from toolkit.errors import ExitCode, ToolkitError, UsageError
from toolkit.host.signals import BLOCKED
from toolkit.options import general
from toolkit.options.command_line import CommandLine, Shown, read
from toolkit.options.lookup import Sources
from toolkit.settings import Output, Settings
from toolkit.version import VERSION

log = logs.get(__name__)

PROGRAM = "nvidia-toolkit"
_INTERRUPTED = 130
"""The exit status that a shell reports for a command that Ctrl-C ended."""


class Commands:
    """The commands, each with the settings and its own options.

    Signals come in blocked; commands that change nothing unblock them.
    """

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
        from toolkit.node import open_node
        from toolkit.report import output as printed

        _default_signals()
        return printed.plan(open_node(settings), output, detailed_exitcode=detailed_exitcode)

    def status(self, settings: Settings, output: Output) -> ExitCode:
        """Show what is installed."""
        from toolkit.report import output as printed

        _default_signals()
        return printed.status(settings, output)

    def verify(self, settings: Settings, output: Output, *, run: bool) -> ExitCode:
        """Ask the engine which handlers it serves; ``run`` starts something with each."""
        from toolkit.report import output as printed

        if not run:
            _default_signals()
        return printed.verify(settings, output, run=run)

    def doctor(self, settings: Settings, output: Output) -> ExitCode:
        """Check the host before anything is done."""
        from toolkit.report import output as printed

        _default_signals()
        return printed.doctor(settings, output)


def _default_signals() -> None:
    """Handle signals as any program does: there is nothing to undo, and Ctrl-C is quiet."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)


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
    line = read(arguments)
    sources = Sources(flags=line.flags, environ=environ)
    _configure_logs(sources)
    try:
        return _flushed(_carry_out(line, sources, commands, program))
    except KeyboardInterrupt:
        return _INTERRUPTED
    except ToolkitError as error:
        failure = error
        log.error(
            "usage.refused" if isinstance(error, UsageError) else "program.failed", str(error)
        )
    except Exception as error:  # noqa: BLE001 - the last resort: one line in place of a traceback
        if isinstance(error, BrokenPipeError) and _reader_went_away():
            return ExitCode.FAILED
        hint = "" if logs.debugging() else "--debug shows where"
        failure = ToolkitError(f"unexpected {type(error).__name__}: {error}", hint)
        failure.__cause__ = error
        log.error("program.broken", str(failure))
    logs.traceback_of(failure)
    _print_failure(line, sources, failure)
    return failure.exit_code


def _carry_out(line: CommandLine, sources: Sources, commands: Commands, program: str) -> ExitCode:
    if line.error is not None:
        raise line.error
    if line.shown is not None:
        sys.stdout.write(_text(line.shown, program, line.command))
        return ExitCode.DONE
    from toolkit.options.build import build_settings  # not needed for help and version

    settings = build_settings(sources)
    logs.configure(settings.log_format, debug=settings.debug, color=settings.color)
    for warning in settings.warnings:
        log.warning("settings.adjusted", warning)
    return _call(commands, line.command, sources, settings)


def _text(shown: Shown, program: str, command: str | None) -> str:
    if shown is Shown.VERSION:
        return f"{program} {VERSION}\n"
    from toolkit.options.help import help_text  # loads click

    return help_text(program, command, whole=shown is Shown.HELP_ALL)


def _call(
    commands: Commands, command: str | None, sources: Sources, settings: Settings
) -> ExitCode:
    """Read the options of the command itself and call it."""
    if command is None:
        return commands.run(settings)
    output = sources.value(general.OUTPUT)
    if command == "plan":
        detailed = sources.value(general.DETAILED_EXITCODE)
        return commands.plan(settings, output, detailed_exitcode=detailed)
    if command == "revert":
        return commands.revert(settings, output, purge=sources.value(general.PURGE))
    if command == "verify":
        return commands.verify(settings, output, run=sources.value(general.RUN))
    if command == "status":
        return commands.status(settings, output)
    return commands.doctor(settings, output)


def _configure_logs(sources: Sources) -> None:
    """Choose the log's form before everything else is checked, so that it applies to errors too."""
    try:
        log_format = sources.value(general.LOG_FORMAT)
    except UsageError:
        log_format = general.LOG_FORMAT.value.default
    debug = False
    with contextlib.suppress(UsageError):
        debug = sources.value(general.DEBUG)
    logs.configure(log_format, debug=debug)


def _print_failure(line: CommandLine, sources: Sources, error: ToolkitError) -> None:
    """Print the error as a JSON document, for a command whose result would be one."""
    with contextlib.suppress(UsageError, OSError, ValueError):
        asked = line.command in general.OUTPUT.commands
        if asked and sources.value(general.OUTPUT) is Output.JSON:
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
