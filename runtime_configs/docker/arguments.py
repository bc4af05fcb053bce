"""dockerd's command line, as far as it concerns ``daemon.json``."""

from __future__ import annotations

from collections.abc import Sequence


def flags(arguments: Sequence[str]) -> dict[str, str]:
    """Return the long flags with their values, the last of each; both ``--x V`` and ``--x=V``."""
    found: dict[str, str] = {}
    for index, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument.startswith("--"):
            flag, equals, value = argument.partition("=")
            following = arguments[index + 1 : index + 2]
            if not equals and following and not following[0].startswith("-"):
                value = following[0]
            found[flag] = value
    return found


def without_config_file(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the arguments without the program's name and without ``--config-file``."""
    rest = list(arguments)
    if rest and not rest[0].startswith("-"):
        del rest[0]
    kept: list[str] = []
    skip = False
    for argument in rest:
        if skip:
            skip = False
        elif argument == "--config-file":
            skip = True
        elif not argument.startswith("--config-file="):
            kept.append(argument)
    return tuple(kept)
