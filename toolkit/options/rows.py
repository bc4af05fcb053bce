"""Constructors for common kinds of rows."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from toolkit.options import parsers
from toolkit.options.option import Option

E = TypeVar("E", bound=StrEnum)


def switch(
    flags: tuple[str, ...],
    variables: tuple[str, ...],
    text: str,
    *,
    default: bool = False,
) -> Option[bool]:
    """Return the row of a Boolean."""
    return Option(
        flags=flags,
        variables=variables,
        parse=parsers.boolean,
        default=default,
        help=text,
        boolean=True,
        metavar="",
    )


def choice(flags: tuple[str, ...], variables: tuple[str, ...], default: E, text: str) -> Option[E]:
    """Return the row of an enum."""
    enum = type(default)
    return Option(
        flags=flags,
        variables=variables,
        parse=parsers.one_of(enum),
        default=default,
        help=text,
        metavar="|".join(member.value for member in enum),
    )


def path(
    flags: tuple[str, ...],
    variables: tuple[str, ...],
    default: str,
    text: str,
    parse: Callable[[str], str] = parsers.absolute_path,
) -> Option[str]:
    """Return the row of an absolute path."""
    return Option(
        flags=flags,
        variables=variables,
        parse=parse,
        default=default,
        help=text,
        metavar="PATH",
    )


def optional_path(
    flags: tuple[str, ...], variables: tuple[str, ...], text: str, default_text: str = ""
) -> Option[str | None]:
    """Return the row of an optional absolute path."""
    return Option(
        flags=flags,
        variables=variables,
        parse=parsers.optional(parsers.absolute_path),
        default=None,
        default_text=default_text,
        help=text,
        metavar="PATH",
    )


def listed(
    flags: tuple[str, ...],
    variables: tuple[str, ...],
    parse: Callable[[str], tuple[str, ...]],
    text: str,
    *,
    default: tuple[str, ...] = (),
    default_text: str = "",
) -> Option[tuple[str, ...]]:
    """Return the row of a comma separated list."""
    return Option(
        flags=flags,
        variables=variables,
        parse=parse,
        default=default,
        default_text=default_text,
        help=text,
        metavar="LIST",
        repeatable=True,
    )
