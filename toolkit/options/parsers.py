"""Parsers of values: text in, value out, or UsageError with what to write instead.

``Sources.value`` adds the flag or variable to the error.
"""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TypeVar

from toolkit.errors import UsageError

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")

BOOLEANS = {
    **dict.fromkeys(("true", "t", "1", "yes"), True),
    **dict.fromkeys(("false", "f", "0", "no"), False),
}
_LONGEST_SHOWN = 80
_LONGEST_WAIT = 31_536_000.0
"""A year in seconds; above it the kernel's timers overflow."""
_HIGHEST_INDEX = 99
_HIGHEST_PORT = 65535
_LONGEST_PATH = 4095
_LONGEST_NAME = 255
_DEEPEST = 32
"""Maximum nesting of an override, to protect the stack."""
_NO_TEXT = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"
"""Control characters, line ends, and surrogates that stand for bytes that are not UTF-8: config
files cannot contain them, or their readers differ."""
_NAMES_OF_BINARY = frozenset({"binaryname", "runtime"})
"""Options of a containerd handler that name its binary; ``runtime`` before config version 2."""


def unusable(text: str, problem: str, hint: str) -> UsageError:
    """Return the error of a value, which is shown quoted, on one line, truncated if very long."""
    shown = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
    return UsageError(f"{shown!r} {problem}", hint)


def boolean(text: str) -> bool:
    """Parse one of the eight words, in any case."""
    if text.lower() not in BOOLEANS:
        raise unusable(text, "is not a Boolean", "write true or false (t, f, 1, 0, yes, no)")
    return BOOLEANS[text.lower()]


def one_of(enum: type[E]) -> Callable[[str], E]:
    """Parse one of an enum's words."""

    def parse(text: str) -> E:
        if text not in set(enum):
            raise unusable(text, "is not known", f"write one of {', '.join(enum)}")
        return enum(text)

    return parse


def one_word_of(*words: str) -> Callable[[str], str]:
    """Parse one of some words, in any case."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise unusable(text, "is not known", f"write one of {', '.join(words)}")
        return text.lower()

    return parse


def optional(parse: Callable[[str], T]) -> Callable[[str], T | None]:
    """Let an empty text mean "not set"."""
    return lambda text: parse(text) if text else None


def items(text: str) -> tuple[str, ...]:
    """Split a comma separated list; drop spaces around items, and empty items."""
    return tuple(item.strip() for item in text.split(",") if item.strip())


def each(parse: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    """Parse a comma separated list of values of one kind; duplicates are dropped."""
    return lambda text: tuple(dict.fromkeys(parse(item) for item in items(text)))


def matching(pattern: str, what: str, hint: str) -> Callable[[str], str]:
    """Parse a text that matches a pattern as a whole."""

    def parse(text: str) -> str:
        # Compiled only for a given value: every millisecond of a start counts.
        if re.fullmatch(pattern, text, re.ASCII):
            return text
        raise unusable(text, f"is not a {what}", hint)

    return parse


def absolute_path(text: str) -> str:
    """Parse an absolute path; doubled and trailing slashes are removed."""
    if not text.startswith("/"):
        raise unusable(text, "is not an absolute path", "write a path that begins with /")
    if re.search(_NO_TEXT, text):
        problem = "has control characters, or bytes that are not UTF-8"
        raise unusable(text, problem, "write a plain path")
    path = "/" + posixpath.normpath(text).lstrip("/")
    longest = max(len(name.encode()) for name in path.split("/"))
    if len(path.encode()) > _LONGEST_PATH or longest > _LONGEST_NAME:
        hint = f"write at most {_LONGEST_PATH} bytes, and {_LONGEST_NAME} between two slashes"
        raise unusable(text, "is too long", hint)
    return path


def search_path_directory(text: str) -> str:
    """Parse an absolute path that can be part of ``PATH``, where ``:`` ends a directory."""
    if ":" in text:
        problem = "has a ':', which ends a directory in the wrappers' PATH"
        raise unusable(text, problem, "choose a directory without one")
    return absolute_path(text)


def socket_path(text: str) -> str:
    """Parse a socket's path; a ``unix://`` prefix, as the kubelet writes it, is accepted."""
    return absolute_path(text.removeprefix("unix://"))


def pid_file(text: str) -> str:
    """Parse the path of the lock, which has one name on every node."""
    path = absolute_path(text)
    if posixpath.basename(path) != "toolkit.pid":
        raise unusable(text, "is not named toolkit.pid", "write a path that ends in /toolkit.pid")
    return path


def plugin_index(text: str) -> int:
    """Parse a position in NRI's order."""
    number = _decimal(text)
    if number is None or number > _HIGHEST_INDEX:
        raise unusable(text, f"is not a number from 0 to {_HIGHEST_INDEX}", "write one, such as 0")
    return number


def seconds(*, zero: bool) -> Callable[[str], float]:
    """Parse a number of seconds; ``zero`` allows 0."""
    wanted = "number of seconds, 0 or more" if zero else "positive number of seconds"

    def parse(text: str) -> float:
        try:
            value = float(text) if re.fullmatch(r"[0-9.]+", text) else math.nan
        except ValueError:
            value = math.nan
        if (value >= 0 if zero else value > 0) and value <= _LONGEST_WAIT:
            return value
        raise unusable(text, f"is not a {wanted}", "write a number without a unit (example: 5)")

    return parse


def handler_override(text: str) -> Mapping[str, object]:
    """Parse the override for each handler's table: a JSON object that TOML can hold as well.

    It must not name the handler's binary. containerd accepts a key in any case.
    """
    import json  # rarely given, and every millisecond of a start counts

    hint = """write an object, such as {"options": {"SystemdCgroup": true}}"""
    try:
        override = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise unusable(text, f"is not JSON: {error}", hint) from None
    if not isinstance(override, dict):
        raise unusable(text, "is not a JSON object", hint)
    _check_for_toml(override, "", 0)
    options = override.get("options")
    for key in options if isinstance(options, dict) else ():
        if key.lower() in _NAMES_OF_BINARY:
            raise UsageError(
                f"options.{key} would replace the toolkit's binary, "
                "and no container would get a GPU",
                "leave that key out: set the low-level runtime with "
                "--nvidia-container-runtime.runtimes",
            )
    return override


def _check_for_toml(value: object, where: str, depth: int) -> None:
    """Reject values that JSON has and TOML lacks; raises UsageError naming the key."""
    if depth > _DEEPEST:
        raise unusable(where, "is nested too deeply", f"write at most {_DEEPEST} levels")
    if isinstance(value, dict):
        for key, inner in value.items():
            path = f"{where}.{key}".lstrip(".")
            _check_for_toml(key, path, depth)
            _check_for_toml(inner, path, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_for_toml(inner, where, depth + 1)
    elif (
        value is None
        or (isinstance(value, str) and re.search(r"[\x00\ud800-\udfff]", value))
        or (isinstance(value, float) and not math.isfinite(value))
        or (isinstance(value, int) and not -(2**63) <= value < 2**63)
    ):
        raise unusable(where, "has a value that can't be written as TOML", "leave that key out")


def health_address(text: str) -> str | None:
    """Parse ``host:port``, ``:port`` or ``[v6]:port``; empty and ``off`` mean none."""
    if text in {"", "off"}:
        return None
    host, colon, port = text.rpartition(":")
    number = _decimal(port)
    if colon and _is_host(host) and number is not None and 1 <= number <= _HIGHEST_PORT:
        return f"{host}:{number}"
    forms = "HOST:PORT, [IPV6]:PORT or :PORT"
    hint = f"write {forms} with a port up to {_HIGHEST_PORT}, such as :8080"
    raise unusable(text, "is not an address", hint)


def _is_host(text: str) -> bool:
    """Return whether a text is a host name, an IPv4 address, an IPv6 one in brackets, or empty."""
    if text.startswith("[") and text.endswith("]"):
        import ipaddress  # rarely given, and every millisecond of a start counts

        try:
            return bool(ipaddress.IPv6Address(text[1:-1]))
        except ValueError:
            return False
    # What a resolver accepts: it raises another error for an empty or long part.
    return re.fullmatch(r"(?:[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?)?", text) is not None


def _decimal(text: str) -> int | None:
    """Return the number written in ASCII digits, of any length; None for anything else."""
    match = re.fullmatch(r"0*([0-9]{1,18})", text)
    return None if match is None else int(match[1])
