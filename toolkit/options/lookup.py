"""Read an option from its flag, else from the first variable that is set, else its default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from msgspec import Struct, field

from runtime_configs.model import EngineName
from toolkit.errors import UsageError
from toolkit.options.option import Option
from toolkit.options.parsers import BadValueError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

DEFAULT = "default"


class GivenFlag(Struct, frozen=True, kw_only=True):
    """A flag as spelled on the command line, and its value."""

    spelling: str
    value: str


class Reading(Struct, Generic[T_co], frozen=True, kw_only=True):
    """A value and its flag or variable, or ``default``."""

    value: T_co
    source: str


class Sources(Struct, frozen=True, kw_only=True):
    """The input: flags by the option's name, and the environment."""

    flags: Mapping[str, Sequence[GivenFlag]] = field(default_factory=dict)
    environ: Mapping[str, str]

    def read(self, option: Option[T], engine: EngineName | None = None) -> Reading[T]:
        """Return an option's value; raises UsageError naming the flag or variable."""
        given = self._given(option, engine)
        if given is None:
            return Reading(value=option.value.default, source=DEFAULT)
        if option.variable_means is not None and option.name not in self.flags:
            return Reading(value=option.variable_means, source=given.spelling)
        try:
            return Reading(value=option.value.parse(given.value), source=given.spelling)
        except BadValueError as error:
            raise UsageError(f"{given.spelling}: {error.message}", error.hint) from None

    def _given(self, option: Option[T], engine: EngineName | None) -> GivenFlag | None:
        given = self.flags.get(option.name, ())
        if given:
            last = given[-1]
            if not option.value.repeatable:
                return last
            joined = ",".join(flag.value for flag in given)
            return GivenFlag(spelling=last.spelling, value=joined)
        for name in option.variables_for(engine):
            value = self.environ.get(name)
            if value or (value == "" and option.empty_variable_counts):
                return GivenFlag(spelling=name, value=value)
        return None
