"""Read paths and options from a daemon's command line."""

from __future__ import annotations

from collections.abc import Sequence


def option(arguments: Sequence[str], *names: str) -> str | None:
    """Return the last value of an option given as ``--x v``, ``--x=v``, ``-x v`` or ``-x=v``."""
    found: str | None = None
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in names:
            found = value if equals else next(iter(arguments[position + 1 : position + 2]), None)
    return found


def path_option(arguments: Sequence[str], *names: str) -> str | None:
    """Return an option's value if it is an absolute path (with or without ``unix://``)."""
    value = (option(arguments, *names) or "").removeprefix("unix://")
    return value if value.startswith("/") else None


def added_runtimes(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the runtime names added by dockerd's ``--add-runtime NAME=PATH``."""
    found = []
    for position, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag == "--add-runtime":
            given = value if equals else "".join(arguments[position + 1 : position + 2])
            found.append(given.partition("=")[0])
    return tuple(found)
