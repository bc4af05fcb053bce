"""The findings of `doctor`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum

from msgspec import Struct, field
from msgspec.structs import replace

from toolkit.errors import ToolkitError


class Verdict(StrEnum):
    """The result of a check; UNKNOWN is neither good nor bad."""

    OK = "ok"
    WARNING = "warning"
    """Worth a look; does not stop a setup."""
    PROBLEM = "problem"
    """A setup would fail, or its result would not work."""
    UNKNOWN = "unknown"
    """Not known; the message gives the reason."""


class Finding(Struct, frozen=True, kw_only=True):
    """One check's result."""

    identifier: str = field(default="", name="id")
    """Unique in one run, and the same in every run; empty: derived from the check."""
    check: str
    verdict: Verdict
    message: str
    fix: str = ""


def identified(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Give each finding its identifier: the check in small letters, numbered from the second on."""
    seen: Counter[str] = Counter()
    for each in findings:
        name = each.identifier or each.check.lower().replace(" ", "-")
        seen[name] += 1
        number = f".{seen[name]}" if seen[name] > 1 else ""
        yield replace(each, identifier=f"{name}{number}")


def ok(check: str, message: str, identifier: str = "") -> Finding:
    """Return a finding that is fine."""
    return Finding(check=check, verdict=Verdict.OK, message=message, identifier=identifier)


def warning(check: str, message: str, fix: str = "") -> Finding:
    """Return a warning."""
    return Finding(check=check, verdict=Verdict.WARNING, message=message, fix=fix)


def problem(check: str, message: str, fix: str) -> Finding:
    """Return a problem that would stop a setup."""
    return Finding(check=check, verdict=Verdict.PROBLEM, message=message, fix=fix)


def refused(check: str, error: ToolkitError) -> Finding:
    """Return the error of a setup as a problem."""
    return problem(check, error.message, error.hint)


def not_looked_at(check: str, why: str) -> Finding:
    """Return a finding that could not be checked; ``why`` gives the reason."""
    return unknown(check, f"not looked at: {why}")


def unknown(check: str, message: str) -> Finding:
    """Return a finding that is not known."""
    return Finding(check=check, verdict=Verdict.UNKNOWN, message=message)
