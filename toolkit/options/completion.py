"""Completion in bash, zsh and fish: click's scripts, which ask the program for completions."""

from __future__ import annotations

from click.shell_completion import get_completion_class, shell_complete

from toolkit.options.command_line import click_command
from toolkit.options.general import COMPLETE


def complete(program: str, instruction: str) -> int:
    """Answer a completion script; return the exit code."""
    return shell_complete(click_command(program), {}, program, COMPLETE, instruction)


def script(program: str, shell: str) -> str:
    """Return the completion script of a shell."""
    kind = get_completion_class(shell)
    if kind is None:
        raise ValueError(f"click has no completion for {shell}")
    return kind(click_command(program), {}, program, COMPLETE).source()
