"""Read the command line: flags in every form of NVIDIA's installer, a command, a directory.

urfave/cli, which parses the command line of that installer, accepts ``-flag`` for ``--flag`` and
``=`` after a letter (``-r=docker``), takes any next argument as a value (even ``-x``) except for
Booleans, and does not combine letters (``command_parse.go``, version 3).

click has other rules and takes two bare starts of the interpreter to load. Only help and completion
use it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

from msgspec import Struct

from toolkit.errors import UsageError
from toolkit.logs import one_line
from toolkit.options import general
from toolkit.options.catalog import OPTIONS
from toolkit.options.lookup import Given
from toolkit.options.misspelt import unknown_word
from toolkit.options.option import Option
from toolkit.options.usage import SUMMARIES

_BY_NAME: Mapping[str, Option[object]] = {
    flag.lstrip("-"): option for option in OPTIONS for flag in option.flags
}


class Shown(StrEnum):
    """What a command line can ask for in place of a command."""

    HELP = "--help"
    HELP_ALL = "--help-all"
    VERSION = "--version"


_SHOWN = {**{each.lstrip("-"): each for each in Shown}, "h": Shown.HELP, "v": Shown.VERSION}


class CommandLine(Struct, frozen=True, kw_only=True):
    """What a command line asks for; with an error, the flags that could be read even so."""

    command: str | None
    """None: set up, wait, revert."""
    flags: Mapping[str, Sequence[Given]]
    """By the option's name."""
    shown: Shown | None
    error: UsageError | None


def read(arguments: Sequence[str]) -> CommandLine:
    """Read a command line to its end: its flags decide the form in which its error is reported."""
    flags: dict[str, list[Given]] = {}
    words: list[str] = []
    shown: list[Shown] = []
    errors: list[UsageError] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            words.extend(remaining)
        elif not argument.startswith("-") or argument == "-":
            words.append(argument)
        elif argument.lstrip("-") in _SHOWN:
            shown.append(_SHOWN[argument.lstrip("-")])
        else:
            try:
                option, flag = _flag(argument, remaining)
            except UsageError as error:
                errors.append(error)
            else:
                flags.setdefault(option.name, []).append(flag)
    command = next((word for word in words if word in SUMMARIES), None)
    if not shown:
        errors += _errors_of_words(words, arguments)
        errors += _errors_of_flags(flags, command)
    directory = next((word for word in words if word.startswith("/")), None)
    if directory is not None:
        given = Given(spelling="the install directory", text=directory)
        flags.setdefault(general.INSTALL_DIR.name, [given])
    return CommandLine(
        command=command,
        flags=flags,
        shown=shown[0] if shown else None,
        error=errors[0] if errors else None,
    )


def _flag(argument: str, remaining: Iterator[str]) -> tuple[Option[object], Given]:
    """Return a flag's option and value, which may be the next argument; raises UsageError."""
    spelling, equals, text = argument.partition("=")
    option = _BY_NAME.get(spelling.removeprefix("-").removeprefix("-"))
    if option is None:
        raise _unknown(spelling)
    if option.boolean and not equals:
        text = "true"
    elif not equals:
        following = next(remaining, None)
        if following is None:
            raise UsageError(f"{spelling}: its value is missing", f"write {spelling}=VALUE")
        text = following
    return option, Given(spelling=spelling, text=text)


def _unknown(spelling: str) -> UsageError:
    from difflib import get_close_matches  # only after a typing error

    letters = spelling.lstrip("-")
    if len(letters) > 1 and not spelling.startswith("--") and set(letters) <= set(_BY_NAME):
        hint = f"write them apart: {' '.join(f'-{each}' for each in letters)}"
    else:
        known = [name for name, option in _BY_NAME.items() if not option.hidden]
        close = get_close_matches(letters, known, n=1)
        hint = f"did you mean --{close[0]}?" if close else "see --help"
    return UsageError(f"{one_line(spelling)}: unknown option", hint)


def _errors_of_words(words: Sequence[str], arguments: Sequence[str]) -> Iterator[UsageError]:
    """Report all but one command and one install directory."""
    seen = set[bool]()
    for word in words:
        is_command = word in SUMMARIES
        if not is_command and not word.startswith("/"):
            yield unknown_word(word, arguments)
        elif is_command in seen:
            yield UsageError(
                f"{word!r} is one argument too many",
                "give one command and one install directory at most",
            )
        seen.add(is_command)


def _errors_of_flags(
    flags: Mapping[str, Sequence[Given]], command: str | None
) -> Iterator[UsageError]:
    """Report flags that the command does not take."""
    for option in OPTIONS:
        if option.name in flags and not option.taken_by(command):
            takers = ", ".join(f"'{each}'" for each in option.commands)
            spelling = flags[option.name][-1].spelling
            yield UsageError(f"{spelling} is only valid with {takers}")
