"""Read an option from its flag, else from the first variable that is set, else its default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from msgspec import Struct, field

from runtime_configs.model import EngineName
from toolkit.errors import UsageError
from toolkit.options.option import Option

T = TypeVar("T")

DEFAULT = "default"


class Given(Struct, frozen=True, kw_only=True):
    """A flag or variable as it is spelled, and its text."""

    spelling: str
    text: str


class Sources(Struct, frozen=True, kw_only=True):
    """The input: flags by the option's name, and the environment."""

    flags: Mapping[str, Sequence[Given]] = field(default_factory=dict)
    environ: Mapping[str, str]

    def value(self, option: Option[T], engine: EngineName | None = None) -> T:
        """Return an option's value; raises UsageError naming the flag or variable."""
        given = self._given(option, engine)
        if given is None:
            return option.value.default
        if option.variable_means is not None and option.name not in self.flags:
            return option.variable_means
        try:
            return option.value.parse(given.text)
        except UsageError as error:
            raise UsageError(f"{given.spelling}: {error.message}", error.hint) from None

    def source(self, option: Option[object], engine: EngineName | None = None) -> str:
        """Return the flag or variable of an option's value, or ``default``."""
        given = self._given(option, engine)
        return DEFAULT if given is None else given.spelling

    def _given(self, option: Option[object], engine: EngineName | None) -> Given | None:
        given = self.flags.get(option.name, ())
        if given:
            last = given[-1]
            if not option.value.repeatable:
                return last
            joined = ",".join(flag.text for flag in given)
            return Given(spelling=last.spelling, text=joined)
        for name in option.variables_for(engine):
            value = self.environ.get(name)
            if value or (value == "" and option.empty_variable_counts):
                return Given(spelling=name, text=value)
        return None
