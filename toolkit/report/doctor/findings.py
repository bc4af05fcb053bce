"""What a check of `doctor` says."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from toolkit.errors import ToolkitError


class Verdict(StrEnum):
    """What a check found; three values where it can't be told."""

    OK = "ok"
    WARNING = "warning"
    """Worth a look, and no hindrance."""
    PROBLEM = "problem"
    """A setup would fail, or its result would not serve."""
    UNKNOWN = "unknown"
    """It can't be told; the message says why."""


class Finding(Struct, frozen=True, kw_only=True):
    """One check's result."""

    check: str
    verdict: Verdict
    message: str
    fix: str = ""


def ok(check: str, message: str) -> Finding:
    """Return that nothing differs."""
    return Finding(check=check, verdict=Verdict.OK, message=message)


def warning(check: str, message: str, fix: str = "") -> Finding:
    """Return what is worth a look."""
    return Finding(check=check, verdict=Verdict.WARNING, message=message, fix=fix)


def problem(check: str, message: str, fix: str) -> Finding:
    """Return what would stop a setup."""
    return Finding(check=check, verdict=Verdict.PROBLEM, message=message, fix=fix)


def refused(check: str, error: ToolkitError) -> Finding:
    """Return the problem that a setup would end with."""
    return problem(check, error.message, error.hint)


def not_looked_at(check: str, why: str) -> Finding:
    """Return that nothing can be said; ``why`` names what was in the way."""
    return unknown(check, f"not looked at: {why}")


def unknown(check: str, message: str) -> Finding:
    """Return that it can't be told."""
    return Finding(check=check, verdict=Verdict.UNKNOWN, message=message)
