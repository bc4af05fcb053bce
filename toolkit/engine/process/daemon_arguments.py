"""Read paths and options from a daemon's command line."""

from __future__ import annotations

from collections.abc import Sequence


def option(arguments: Sequence[str], *names: str) -> str | None:
    """Return the last value of an option given as ``--x v``, ``--x=v``, ``-x v`` or ``-x=v``."""
    return next(reversed(_values(arguments, names)), None)


def path_option(arguments: Sequence[str], *names: str) -> str | None:
    """Return an option's value if it is an absolute path (with or without ``unix://``)."""
    value = (option(arguments, *names) or "").removeprefix("unix://")
    return value if value.startswith("/") else None


def added_runtimes(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the runtime names added by dockerd's ``--add-runtime NAME=PATH``."""
    given = _values(arguments, ("--add-runtime",))
    return tuple(each.partition("=")[0] for each in given if each is not None)


def _values(arguments: Sequence[str], names: Sequence[str]) -> list[str | None]:
    """Return the value of an option at each of its places; None where it has none."""
    found: list[str | None] = []
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in names:
            following = next(iter(arguments[position + 1 : position + 2]), None)
            found.append(value if equals else following)
    return found
