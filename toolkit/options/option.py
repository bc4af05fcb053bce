"""The table of options: a row has its spellings, its value and its meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Generic, TypeVar

from msgspec import Struct

from runtime_configs.model import EngineName
from toolkit.options import parsers

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Value(Struct, Generic[T_co], frozen=True):
    """The value of an option."""

    parse: Callable[[str], T_co]
    """Parses the text; raises UsageError."""
    metavar: str
    """Its placeholder in help; empty: a Boolean, which is true without a text."""
    default: T_co
    repeatable: bool = False
    """A comma separated list whose flag may be repeated."""

    @property
    def shown_default(self) -> str:
        """The default as it would be written; empty if there is none."""
        if isinstance(self.default, bool):
            return "true" if self.default else "false"
        if self.default is None:
            return ""
        if isinstance(self.default, tuple):
            return ",".join(str(item) for item in self.default)
        if isinstance(self.default, float):
            return f"{self.default:g}"
        return str(self.default)


OFF = Value(parsers.boolean, "", default=False)
ON = Value(parsers.boolean, "", default=True)
OPTIONAL_PATH = Value(parsers.optional(parsers.absolute_path), "PATH", None)


def path(default: str, parse: Callable[[str], str] = parsers.absolute_path) -> Value[str]:
    """Return the value of an absolute path."""
    return Value(parse, "PATH", default)


def choice(default: E) -> Value[E]:
    """Return the value of one of an enum's words."""
    return Value(parsers.one_of(type(default)), "|".join(type(default)), default)


def listed(
    parse: Callable[[str], tuple[str, ...]], default: tuple[str, ...] = ()
) -> Value[tuple[str, ...]]:
    """Return the value of a comma separated list."""
    return Value(parse, "LIST", default, repeatable=True)


class Option(Struct, Generic[T_co], frozen=True, kw_only=True):
    """One option."""

    flags: tuple[str, ...]
    """The long name first, then aliases and the letter, each with its dashes."""
    variables: tuple[str, ...]
    """In order of precedence; the first one that is set is used."""
    value: Value[T_co]
    help: str
    default_text: str
    """The displayed default where it is not a plain value, such as ``by engine``."""
    engine_variables: Mapping[EngineName, str]
    """Read after ``variables``, each only for its own engine."""
    empty_variable_counts: bool
    """A variable that is set but empty is a value of its own."""
    variable_means: T_co | None
    """The value for a variable with any content, such as ``NO_COLOR`` (no-color.org)."""
    hidden: bool
    commands: tuple[str, ...]
    """The only commands that accept it; empty: all of them."""

    @property
    def name(self) -> str:
        """The long name without dashes."""
        return self.flags[0].lstrip("-")

    @property
    def boolean(self) -> bool:
        """Whether it is true without a value and never takes the next argument."""
        return not self.value.metavar

    def taken_by(self, command: str | None) -> bool:
        """Return whether a command accepts it; None is the daemon."""
        return not self.commands or command in self.commands

    def variables_for(self, engine: EngineName | None) -> tuple[str, ...]:
        """Return the variables of one engine in order of precedence.

        An engine without a variable of its own in the row (CRI-O has none for the handler's name)
        uses the other engines' variables, as NVIDIA's installer does for all engines.
        """
        if engine is None:
            return self.variables
        if engine in self.engine_variables:
            return (*self.variables, self.engine_variables[engine])
        return self.all_variables

    @property
    def all_variables(self) -> tuple[str, ...]:
        """Every variable of the row."""
        return (*self.variables, *self.engine_variables.values())

    @property
    def shown_variables(self) -> str:
        """The variables in order of precedence; slashes separate those of different engines."""
        of_engines = " / ".join(self.engine_variables.values())
        return ", then ".join(filter(None, (", ".join(self.variables), of_engines)))

    @property
    def shown_default(self) -> str:
        """The default as shown in help and documentation; empty if there is none."""
        return self.default_text or self.value.shown_default


class Group:
    """Related rows under one heading, in the order of help and documentation."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.options: list[Option[object]] = []

    def add(
        self,
        flags: str,
        variables: str,
        value: Value[T],
        text: str,
        *,
        default_text: str = "",
        engine_variables: Mapping[EngineName, str] | None = None,
        empty_variable_counts: bool = False,
        variable_means: T | None = None,
        hidden: bool = False,
        commands: tuple[str, ...] = (),
    ) -> Option[T]:
        """Add a row and return it; ``flags`` and ``variables`` are separated by spaces."""
        option = Option(
            flags=tuple(flags.split()),
            variables=tuple(variables.split()),
            value=value,
            help=text,
            default_text=default_text,
            engine_variables=engine_variables or {},
            empty_variable_counts=empty_variable_counts,
            variable_means=variable_means,
            hidden=hidden,
            commands=commands,
        )
        self.options.append(option)
        return option
