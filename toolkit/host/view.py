"""How adapters look at the host's files: reading, and the engine's own kind of patterns."""

from __future__ import annotations

import os
import re

from toolkit.errors import HostPathError
from toolkit.host.paths import HostRoot
from toolkit.host.replace import read_state

_MAGIC = re.compile(r"[*?\[]")


class HostFilesView:
    """Fulfils ``HostView``; every path is a host path, links are resolved inside the root."""

    def __init__(self, root: HostRoot) -> None:
        self._root = root

    def read(self, path: str) -> bytes | None:
        """Return the file's bytes, or None where there is no file. Raises HostPathError."""
        try:
            state = read_state(self._root.access(path))
        except OSError as error:
            raise HostPathError(f"cannot read {path}: {error.strerror}") from error
        return state.content if state else None

    def glob(self, pattern: str) -> tuple[str, ...]:
        """Return what matches, directory by directory, names sorted bytewise.

        Patterns are those of Go's filepath.Match, which the engines use: ``*`` and ``?`` match a
        leading dot too, ``[^a-c]`` negates, a backslash takes the next character literally. A
        pattern that Go refuses matches nothing.
        """
        found = ["/"]
        for part in pattern.split("/"):
            if part:
                found = [path for each in found for path in self._matches(each, part)]
        return tuple(found) if pattern.startswith("/") else ()

    def _matches(self, directory: str, part: str) -> list[str]:
        if not _MAGIC.search(part):
            path = os.path.join(directory, re.sub(r"\\(.)", r"\1", part))
            return [path] if os.path.lexists(self._root.entry(path)) else []
        expression = match_expression(part)
        if expression is None:
            return []
        try:
            names = os.listdir(self._root.access(directory))
        except OSError:
            return []
        chosen = [name for name in names if expression.fullmatch(name)]
        return [os.path.join(directory, name) for name in sorted(chosen, key=os.fsencode)]


def match_expression(part: str) -> re.Pattern[str] | None:
    """Translate one component of a Go pattern; None where Go calls it malformed."""
    out: list[str] = []
    position = 0
    while position < len(part):
        character = part[position]
        position += 1
        if character == "*":
            out.append(".*")
        elif character == "?":
            out.append(".")
        elif character == "[":
            end = _class_end(part, position)
            if end is None:
                return None
            out.append(_class_expression(part[position:end]))
            position = end + 1
        elif character == "\\":
            if position == len(part):
                return None
            out.append(re.escape(part[position]))
            position += 1
        else:
            out.append(re.escape(character))
    try:
        return re.compile("".join(out), re.DOTALL)
    except re.error:
        return None


def _class_end(part: str, start: int) -> int | None:
    """Return where the bracket closes; one that is empty or open is malformed."""
    position = start + (part[start : start + 1] == "^")
    first = position
    while position < len(part):
        if part[position] == "]":
            return position if position > first else None
        position += 2 if part[position] == "\\" else 1
    return None


def _class_expression(body: str) -> str:
    negated = body.startswith("^")
    characters = re.findall(r"\\.|.", body[negated:], re.DOTALL)
    escaped = [each if each == "-" else re.escape(each[-1]) for each in characters]
    return f"[{'^' if negated else ''}{''.join(escaped)}]"
