"""One row of the table of options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec import Struct

from runtime_configs.model import EngineName

T_co = TypeVar("T_co", covariant=True)


class Option(Struct, Generic[T_co], frozen=True, kw_only=True):
    """One option: its spellings, its parser and its default."""

    flags: tuple[str, ...]
    """The long name first, then aliases and the letter, each with its dashes."""
    parse: Callable[[str], T_co]
    """Parses the text; raises BadValueError."""
    default: T_co
    help: str
    variables: tuple[str, ...] = ()
    """In order of precedence; the first one that is set is used."""
    engine_variables: tuple[tuple[EngineName, str], ...] = ()
    """Read after ``variables``, each only for its own engine."""
    metavar: str = "TEXT"
    default_text: str = ""
    """The displayed default where it is not a plain value, such as ``by engine``."""
    boolean: bool = False
    """True without a value; never takes the next argument."""
    repeatable: bool = False
    """A comma separated list whose flag may be repeated."""
    empty_variable_counts: bool = False
    """A variable that is set but empty is a value of its own."""
    variable_means: T_co | None = None
    """The value for a variable with any content, such as ``NO_COLOR`` (no-color.org)."""
    hidden: bool = False
    commands: tuple[str, ...] = ()
    """The only commands that accept it; empty: all of them."""

    @property
    def name(self) -> str:
        """The long name without dashes."""
        return self.flags[0].lstrip("-")

    def variables_for(self, engine: EngineName | None) -> tuple[str, ...]:
        """Return the variables of one engine in order of precedence.

        An engine without a variable of its own in the row (CRI-O has none for the handler's name)
        uses the other engines' variables, as NVIDIA's installer does for all engines.
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
    def shown_variables(self) -> str:
        """The variables in order of precedence; slashes separate those of different engines."""
        of_engines = " / ".join(name for _, name in self.engine_variables)
        return ", then ".join(filter(None, (", ".join(self.variables), of_engines)))

    @property
    def shown_default(self) -> str:
        """The default as shown in help and documentation; empty if there is none."""
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
    """Related rows under one heading."""

    title: str
    options: tuple[Option[object], ...]
