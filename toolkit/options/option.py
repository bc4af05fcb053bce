"""What one row of the table of options says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec import Struct

from runtime_configs.model import EngineName

T_co = TypeVar("T_co", covariant=True)


class Option(Struct, Generic[T_co], frozen=True, kw_only=True):
    """One option: how it is spelled, what it may be, what it is when nobody says anything."""

    flags: tuple[str, ...]
    """The long name first, then aliases and the letter, each with its dashes."""
    parse: Callable[[str], T_co]
    """Turns the text into a value; raises BadValueError."""
    default: T_co
    help: str
    variables: tuple[str, ...] = ()
    """In the order of looking; the first one that is set wins."""
    engine_variables: tuple[tuple[EngineName, str], ...] = ()
    """Looked at after ``variables``, each for its own engine alone."""
    metavar: str = "TEXT"
    default_text: str = ""
    """How the default reads where it is no plain value, such as ``by engine``."""
    boolean: bool = False
    """Given without a value it is true, and it never takes the next argument."""
    repeatable: bool = False
    """A comma separated list whose flag may be repeated."""
    empty_variable_counts: bool = False
    """A variable that is set but empty is a value of its own."""
    variable_means: T_co | None = None
    """What a variable says whatever it holds, as ``NO_COLOR`` does (no-color.org)."""
    hidden: bool = False
    commands: tuple[str, ...] = ()
    """The only commands that take it; empty: all of them."""

    @property
    def name(self) -> str:
        """The long name without dashes."""
        return self.flags[0].lstrip("-")

    @property
    def identifier(self) -> str:
        """The name as an identifier."""
        return "".join(char if char.isalnum() else "_" for char in self.name)

    def variables_for(self, engine: EngineName | None) -> tuple[str, ...]:
        """Return the variables of one engine in the order of looking.

        An engine without a variable of its own in the row (CRI-O has none for the handler's name)
        takes the other engines', as NVIDIA's installer does for all.
        """
        if engine is None or not self.engine_variables:
            return self.variables
        own = tuple(name for owner, name in self.engine_variables if owner is engine)
        return self.variables + (own or tuple(name for _, name in self.engine_variables))

    @property
    def all_variables(self) -> tuple[str, ...]:
        """Every variable of the row."""
        return self.variables + tuple(name for _, name in self.engine_variables)

    @property
    def shown_default(self) -> str:
        """The default as help and documentation show it; empty where there is none."""
        if self.default_text:
            return self.default_text
        if isinstance(self.default, bool):
            return "true" if self.default else "false"
        if self.default is None or self.default == ():
            return ""
        if isinstance(self.default, tuple):
            return ",".join(str(item) for item in self.default)
        if isinstance(self.default, float):
            return f"{self.default:g}"
        return str(self.default)


class Group(Struct, frozen=True, kw_only=True):
    """Rows that belong together, under one heading."""

    title: str
    options: tuple[Option[object], ...]
