"""Parse the command line with click: flags, words, help, version.

Loading click takes a tenth of a short run, so it is loaded only for a command line with arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import click
from msgspec import Struct

from toolkit.errors import UsageError
from toolkit.options import general
from toolkit.options.catalog import OPTIONS
from toolkit.options.grammar import HELP, HELP_ALL, VERSION, Rewritten, rewrite
from toolkit.options.help import write_help
from toolkit.options.lookup import GivenFlag
from toolkit.options.misspelt import unknown_word
from toolkit.options.usage import SUMMARIES
from toolkit.version import VERSION as PROGRAM_VERSION


class CommandLine(Struct, frozen=True, kw_only=True):
    """A parsed command line."""

    command: str | None
    """None: set up, wait, revert."""
    flags: Mapping[str, tuple[GivenFlag, ...]]
    """By the option's identifier."""


class InstallerCommand(click.Command):
    """A click command with the table's help and the flag forms of the Go program."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Rewrite the flags first, so that the words are known before click shows help."""
        if ctx.resilient_parsing:  # shell completion of a line
            return super().parse_args(ctx, [])
        rewritten = rewrite(args, OPTIONS)
        ctx.meta["rewritten"] = rewritten
        return super().parse_args(ctx, list(rewritten.tokens))

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help of the program, or of the named command."""
        words: Rewritten = ctx.meta["rewritten"]
        named = [word for word in words.words if word in SUMMARIES]
        whole = bool(ctx.meta.get(HELP_ALL))
        write_help(formatter, ctx.info_name or "", named[0] if named else None, whole=whole)


def read(arguments: Sequence[str], program: str) -> CommandLine | None:
    """Parse a command line; None if it only asked for help or the version, which is printed.

    Raises UsageError.
    """
    try:
        context = click_command(program).make_context(program, list(arguments))
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
    command, directory = _command_and_directory(rewritten.words, arguments)
    if directory is not None:
        given = GivenFlag(spelling="the install directory", value=directory)
        flags.setdefault(general.INSTALL_DIR.identifier, (given,))
    _check_commands(command, flags)
    return CommandLine(command=command, flags=flags)


def click_command(program: str) -> click.Command:
    """Return the click command."""

    def show_version(_context: click.Context, _param: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's signature
        if wanted:
            click.echo(f"{program} {PROGRAM_VERSION}")
            raise click.exceptions.Exit

    def show_all(context: click.Context, _param: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's signature
        if wanted:
            context.meta[HELP_ALL] = True
            click.echo(context.get_help())
            raise click.exceptions.Exit

    parameters: list[click.Parameter] = [
        click.Option(
            [option.identifier, *option.flags],
            multiple=True,
            hidden=option.hidden,
            shell_complete=_completer(option.metavar.split("|") if "|" in option.metavar else ()),
        )
        for option in OPTIONS
    ]
    parameters.append(
        click.Option(
            ["help_all", HELP_ALL],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=show_all,
        )
    )
    parameters.append(
        click.Option(
            ["show_version", *VERSION],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=show_version,
        )
    )
    parameters.append(
        click.Argument(
            ["words"], nargs=-1, type=click.UNPROCESSED, shell_complete=_completer(tuple(SUMMARIES))
        )
    )
    return InstallerCommand(
        program, params=parameters, context_settings={"help_option_names": list(HELP)}
    )


def _completer(
    choices: Sequence[str],
) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return a function that lists click's completions for a word."""
    return lambda _context, _parameter, begun: [each for each in choices if each.startswith(begun)]


def _command_and_directory(
    words: Sequence[str], arguments: Sequence[str]
) -> tuple[str | None, str | None]:
    """Return the subcommand and the install directory; raises UsageError for any other word."""
    command: str | None = None
    directory: str | None = None
    for word in words:
        if word in SUMMARIES and command is None:
            command = word
        elif word.startswith("/") and directory is None:
            directory = word
        elif word.startswith("/") or word in SUMMARIES:
            raise UsageError(
                f"{word!r} is one argument too many",
                "give one command and one install directory at most",
            )
        else:
            raise unknown_word(word, arguments, tuple(SUMMARIES))
    return command, directory


def _check_commands(command: str | None, flags: Mapping[str, Sequence[GivenFlag]]) -> None:
    """Reject a flag that the command does not take; raises UsageError."""
    for option in OPTIONS:
        if option.commands and command not in option.commands and flags.get(option.identifier):
            takers = ", ".join(f"'{each}'" for each in option.commands)
            spelling = flags[option.identifier][-1].spelling
            raise UsageError(f"{spelling} is only valid with {takers}")
