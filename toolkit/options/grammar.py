"""Rewrite the flag forms of the Go program into those that click understands.

urfave/cli, which parses the command line of NVIDIA's installer, accepts ``-flag`` for ``--flag``
and ``=`` after a letter (``-r=docker``), takes any next argument as a value (even ``-x``) except
for Booleans, and does not combine letters (``command_parse.go``, version 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from toolkit.errors import UsageError
from toolkit.logs import one_line
from toolkit.options.option import Option

HELP = ("--help", "-h")
HELP_ALL = "--help-all"
VERSION = ("--version", "-v")


class Rewritten(Struct, frozen=True, kw_only=True):
    """A command line in which every flag has the form ``--name=value``."""

    tokens: tuple[str, ...]
    words: tuple[str, ...]
    """The arguments that are not flags, in order."""
    spellings: Mapping[str, tuple[str, ...]]
    """The flags as written, by the option's identifier, in order."""


def rewrite(arguments: Sequence[str], options: Sequence[Option[object]]) -> Rewritten:
    """Rewrite a command line; raises UsageError for an unknown flag or a missing value."""
    by_name = {flag.lstrip("-"): option for option in options for flag in option.flags}
    tokens: list[str] = []
    words: list[str] = []
    spellings: dict[str, list[str]] = {}
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            words.extend(remaining)
        elif not argument.startswith("-") or argument == "-":
            words.append(argument)
        elif _dashed(argument) in (*HELP, HELP_ALL, *VERSION):
            tokens.append(_dashed(argument))
        else:
            spelling, equals, value = argument.partition("=")
            option = by_name.get(spelling.removeprefix("-").removeprefix("-"))
            if option is None:
                raise _unknown(spelling, by_name)
            if not equals:
                value = "true" if option.boolean else _next(spelling, remaining)
            tokens.append(f"--{option.name}={value}")
            spellings.setdefault(option.identifier, []).append(spelling)
    return Rewritten(
        tokens=(*tokens, "--", *words),
        words=tuple(words),
        spellings={name: tuple(written) for name, written in spellings.items()},
    )


def _dashed(argument: str) -> str:
    """Return ``-help`` as ``--help``, and ``--h`` as ``-h``."""
    name = argument.lstrip("-")
    return f"-{name}" if len(name) == 1 else f"--{name}"


def _next(spelling: str, remaining: Iterator[str]) -> str:
    value = next(remaining, None)
    if value is None:
        raise UsageError(f"{spelling}: its value is missing", f"write {spelling}=VALUE")
    return value


def _unknown(spelling: str, by_name: Mapping[str, Option[object]]) -> UsageError:
    from difflib import get_close_matches  # only after a typing error

    letters = spelling.lstrip("-")
    if len(letters) > 1 and not spelling.startswith("--") and set(letters) <= set(by_name):
        apart = " ".join(f"-{each}" for each in letters)
        return UsageError(f"{one_line(spelling)}: unknown option", f"write them apart: {apart}")
    known = [name for name, option in by_name.items() if not option.hidden]
    close = get_close_matches(spelling.lstrip("-"), known, n=1)
    hint = f"did you mean --{close[0]}?" if close else "see --help"
    return UsageError(f"{one_line(spelling)}: unknown option", hint)
