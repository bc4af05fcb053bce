"""Completion in bash, zsh and fish: click's scripts, which ask the program for completions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import click
from click.shell_completion import get_completion_class, shell_complete

from toolkit.options.catalog import OPTIONS
from toolkit.options.general import COMPLETE
from toolkit.options.usage import SUMMARIES


def complete(program: str, instruction: str) -> int:
    """Answer a completion script; return the exit code."""
    return shell_complete(_command(program), {}, program, COMPLETE, instruction)


def script(program: str, shell: str) -> str:
    """Return the completion script of a shell."""
    kind = get_completion_class(shell)
    if kind is None:
        raise ValueError(f"click has no completion for {shell}")
    return kind(_command(program), {}, program, COMPLETE).source()


def _command(program: str) -> click.Command:
    """Return flags and words in click's form."""
    parameters: list[click.Parameter] = [
        click.Option(
            [re.sub(r"\W", "_", option.name), *option.flags],
            multiple=True,
            hidden=option.hidden,
            shell_complete=_completer(
                option.value.metavar.split("|") if "|" in option.value.metavar else ()
            ),
        )
        for option in OPTIONS
    ]
    parameters += [
        click.Option(flags, is_flag=True)
        for flags in (["--help", "-h"], ["--help-all"], ["--version", "-v"])
    ]
    parameters.append(click.Argument(["words"], nargs=-1, shell_complete=_completer(SUMMARIES)))
    return click.Command(program, params=parameters, add_help_option=False)


def _completer(
    words: Iterable[str],
) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    return lambda _context, _parameter, begun: [each for each in words if each.startswith(begun)]
