"""Differences of config files as unified diffs, which `patch` accepts."""

from __future__ import annotations

import difflib
import re

ABSENT = "/dev/null"
CONTEXT = 3
"""Lines around a change, as `patch` expects them; any number will do."""
_NO_NEWLINE = "\\ No newline at end of file\n"
_SECRET = re.compile(
    r"""(?ix)
    ( ["']? [\w.-]* (?:password|passwd|auth|token|secret|credential) [\w.-]* ["']? \s* [=:] )
    .* """
)
_IN_ADDRESS = re.compile(r"(://[^\s/@:]+:)[^\s/@]+@")
"""The password in ``http://user:password@proxy``."""


def unified_diff(path: str, before: bytes | None, after: bytes | None) -> str:
    """Return the diff of one file with its host path; ``None`` stands for an absent file.

    Lines that nobody changes are shown as context only as far as they hold no secret.
    """
    old, new = _lines(before), _lines(after)
    lines: list[str] = []
    for context in range(CONTEXT, -1, -1):
        lines = list(
            difflib.unified_diff(
                old,
                new,
                fromfile=ABSENT if before is None else path,
                tofile=ABSENT if after is None else path,
                n=context,
            )
        )
        if not any(line.startswith(" ") and _holds_secret(line) for line in lines):
            break
    return "".join(line if line.endswith("\n") else f"{line}\n{_NO_NEWLINE}" for line in lines)


def redacted_diff(path: str, before: bytes | None, after: bytes | None) -> str:
    """Return the same for a log: without context, and no value of a key that names a secret."""
    lines = difflib.unified_diff(_lines(before), _lines(after), fromfile=path, tofile=path, n=0)
    return "".join(
        _IN_ADDRESS.sub(r"\1[redacted]@", _SECRET.sub(r"\1 [redacted]", line)) for line in lines
    )


def _holds_secret(line: str) -> bool:
    return _SECRET.search(line) is not None or _IN_ADDRESS.search(line) is not None


def _lines(content: bytes | None) -> list[str]:
    # Bytes that are no UTF-8 come through unchanged, and only a newline ends a line.
    text = (content or b"").decode(errors="surrogateescape")
    return [line + "\n" for line in text.split("\n")[:-1]] + [
        line for line in text.split("\n")[-1:] if line
    ]
