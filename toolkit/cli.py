"""The command line: what was said becomes Settings, and one command is called with them."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import click

from toolkit import logs
from toolkit.commands import Commands
from toolkit.errors import ExitCode, ToolkitError, UsageError
from toolkit.options import general
from toolkit.options.grammar import HELP, VERSION, Rewritten, rewrite
from toolkit.options.help import SUMMARIES, write_help
from toolkit.options.sources import GivenFlag, Sources
from toolkit.options.table import OPTIONS
from toolkit.settings import Settings
from toolkit.version import VERSION as PROGRAM_VERSION

log = logs.get(__name__)

PROGRAM = "nvidia-toolkit"
_INTERRUPTED = 130
"""What a shell says of a command that Ctrl-C ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Which command is called, and what was said."""

    command: str | None
    """None: set up, wait, revert."""
    sources: Sources


class InstallerCommand(click.Command):
    """click's command with the help of the table and the command lines of the Go program."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Rewrite the flags first; the words are known before click shows any help."""
        rewritten = rewrite(args, OPTIONS)
        ctx.meta["rewritten"] = rewritten
        return super().parse_args(ctx, list(rewritten.tokens))

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help of the program, or of the command that was named."""
        words: Rewritten = ctx.meta["rewritten"]
        named = [word for word in words.words if word in SUMMARIES]
        write_help(formatter, ctx.info_name or PROGRAM, named[0] if named else None)


def run(
    arguments: Sequence[str],
    *,
    environ: Mapping[str, str],
    commands: Commands,
    program: str = PROGRAM,
    is_mount: Callable[[str], bool] = os.path.ismount,
) -> int:
    """Do what the command line says and return the exit code; a failure is one line on stderr."""
    _configure_logs(Sources(environ=environ))
    debug = False
    try:
        request = parse(arguments, environ, program)
        if request is None:
            return _flushed(ExitCode.DONE)
        _configure_logs(request.sources)
        from toolkit.options.build import build_settings  # help and version need none of it

        settings = build_settings(request.sources, is_mount)
        debug = settings.debug
        logs.configure(settings.log_format, debug=debug)
        for warning in settings.warnings:
            log.warning("settings.adjusted", warning)
        return _flushed(_call(commands, request, settings))
    except ToolkitError as error:
        log.error(
            "usage.refused" if isinstance(error, UsageError) else "program.failed", str(error)
        )
        _show_traceback(error, wanted=debug)
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last resort: one line in place of a traceback
        if isinstance(error, BrokenPipeError) and _reader_went_away():
            return ExitCode.FAILED
        hint = "" if debug else "; --debug shows where"
        log.error("program.broken", f"unexpected {type(error).__name__}: {error}{hint}")
        _show_traceback(error, wanted=debug)
        return ExitCode.FAILED


def parse(arguments: Sequence[str], environ: Mapping[str, str], program: str) -> Request | None:
    """Split a command line; None where it only asked for help or the version, which is printed.

    Raises UsageError.
    """
    try:
        context = _command(program).make_context(program, list(arguments))
    except click.exceptions.Exit:
        return None
    except click.ClickException as error:
        raise UsageError(error.format_message(), "see --help") from None
    rewritten: Rewritten = context.meta["rewritten"]
    flags = {
        name: tuple(
            GivenFlag(spelling=spelling, value=value)
            for spelling, value in zip(spellings, context.params[name], strict=True)
        )
        for name, spellings in rewritten.spellings.items()
    }
    command, directory = _command_and_directory(rewritten.words)
    if directory is not None:
        said = GivenFlag(spelling="the install directory", value=directory)
        flags[general.INSTALL_DIR.identifier] = (said,)
    _check_commands(command, flags)
    return Request(command=command, sources=Sources(flags=flags, environ=environ))


def _command(program: str) -> click.Command:
    def show_version(_context: click.Context, _param: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's signature
        if wanted:
            click.echo(f"{program} {PROGRAM_VERSION}")
            raise click.exceptions.Exit

    parameters: list[click.Parameter] = [
        click.Option([option.identifier, *option.flags], multiple=True) for option in OPTIONS
    ]
    parameters.append(
        click.Option(
            ["show_version", *VERSION],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=show_version,
        )
    )
    parameters.append(click.Argument(["words"], nargs=-1, type=click.UNPROCESSED))
    return InstallerCommand(
        program, params=parameters, context_settings={"help_option_names": list(HELP)}
    )


def _command_and_directory(words: Sequence[str]) -> tuple[str | None, str | None]:
    """Tell the subcommand from the install directory; raises UsageError for any other word."""
    command: str | None = None
    directory: str | None = None
    for word in words:
        if word in SUMMARIES and command is None:
            command = word
        elif word.startswith("/") and directory is None:
            directory = word
        else:
            raise UsageError(
                f"{word!r} is one argument too many"
                if word.startswith("/") or word in SUMMARIES
                else f"{word!r} is no command",
                f"write one of {', '.join(SUMMARIES)}, an absolute install directory or none",
            )
    return command, directory


def _check_commands(command: str | None, flags: Mapping[str, Sequence[GivenFlag]]) -> None:
    """Refuse a flag that the command does not take; raises UsageError."""
    for option in OPTIONS:
        if option.commands and command not in option.commands and flags.get(option.identifier):
            takers = ", ".join(option.commands)
            raise UsageError(
                f"{flags[option.identifier][-1].spelling}: there is nothing that it could change",
                f"give it to {takers} alone",
            )


def _call(commands: Commands, request: Request, settings: Settings) -> ExitCode:
    """Read the options of the command itself and call it."""
    read = request.sources.read
    output = read(general.OUTPUT).value
    detailed_exitcode = read(general.DETAILED_EXITCODE).value
    purge = read(general.PURGE).value
    if request.command is None:
        return commands.run(settings)
    calls: Mapping[str, Callable[[], ExitCode]] = {
        "plan": lambda: commands.plan(settings, output, detailed_exitcode=detailed_exitcode),
        "revert": lambda: commands.revert(settings, output, purge=purge),
        "status": lambda: commands.status(settings, output),
        "verify": lambda: commands.verify(settings, output),
        "doctor": lambda: commands.doctor(settings, output),
    }
    return calls[request.command]()


def _configure_logs(sources: Sources) -> None:
    """Choose the log's form before everything else is checked, so that errors have it too."""
    try:
        log_format = sources.read(general.LOG_FORMAT).value
    except UsageError:
        log_format = general.LOG_FORMAT.default
    logs.configure(log_format, debug=False)


def _show_traceback(error: BaseException, *, wanted: bool) -> None:
    if wanted:
        import traceback

        trace = "".join(traceback.format_exception(error))
        log.debug("program.traceback", "where it happened", traceback=trace)


def _flushed(code: ExitCode) -> ExitCode:
    """Write out what was printed while a reader that went away can still be noticed."""
    sys.stdout.flush()
    return code


def _reader_went_away() -> bool:
    """Tell a pipe behind stdout that nobody reads any more from an engine's broken connection."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    gone = any(events & select.POLLERR for _, events in poll.poll(0))
    if gone:
        # The interpreter flushes once more at its end and would complain of the same pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return gone
