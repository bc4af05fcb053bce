"""The files that one top-level config pulls in, in the order in which the engine reads them."""

from __future__ import annotations

import posixpath
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from runtime_configs.adapter import ConfigRequest
from runtime_configs.documents import load
from runtime_configs.model import ConfigError, Format, HostView, Version


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedFile:
    """One file as the engine reads it."""

    path: str
    document: Mapping[str, object]

    @property
    def version(self) -> int:
        """The version that the file names; 0 where it names none, which means 1."""
        return declared_version(self.document, self.path)


def declared_version(document: Mapping[str, object], path: str) -> int:
    """Return a document's ``version``, 0 without one. Raises ConfigError for no number."""
    value = document.get("version", 0)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(path, "its version is not a number", "write version = 2 or later")
    return int(value)


def import_patterns(document: Mapping[str, object], path: str) -> tuple[str, ...]:
    """Return the strings of ``imports``. Raises ConfigError where it is no list of strings."""
    value = document.get("imports", [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ConfigError(path, "imports is not a list of strings", "correct it")
    return tuple(str(each) for each in value)


def load_order(
    view: HostView, top_level: str, version: Version | None = None
) -> tuple[LoadedFile, ...]:
    """Return the top-level file and all that it imports, breadth first, each once.

    A file that is not there is left out, so of a missing top-level file nothing remains. Raises
    ConfigError for one that does not parse. (``LoadConfig`` of 1.6 to 2.3: the queue and the check
    against circles are the same in all.)
    """
    found: dict[str, LoadedFile] = {}
    pending = deque([top_level])
    while pending:
        path = pending.popleft()
        if path in found:
            continue
        content = view.read(path)
        if content is None:
            continue
        document = load(content, Format.TOML, path=path)
        found[path] = LoadedFile(path=path, document=document)
        for pattern in import_patterns(document, path):
            pending.extend(resolve(pattern, path, view, version))
    return tuple(found.values())


def read_files(request: ConfigRequest, view: HostView, top_level: str) -> tuple[LoadedFile, ...]:
    """Return the files that the engine of a request reads, in its order. Raises ConfigError.

    Of an engine of unknown version those that it says: 1.x lists in its dump what it has read.
    """
    files = load_order(view, top_level, request.version)
    listed = None if request.effective is None else request.effective.raw.get("imports")
    if request.version is not None or not isinstance(listed, list) or top_level not in listed:
        return files
    return tuple(each for each in files if each.path in listed)


def absolute(pattern: str, parent: str) -> str:
    """Return an import as an absolute path: relative ones start at the file that names them."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(parent), pattern))


def resolve(pattern: str, parent: str, view: HostView, version: Version | None) -> Iterator[str]:
    """Yield the paths that one import stands for. Only ``*`` makes it a pattern.

    Before 1.6.29 and 1.7.16 a relative pattern starts at the daemon's working directory, which is
    the root under systemd (``resolveImports``).
    """
    numbers = (9, 0, 0) if version is None else version.numbers
    by_directory = "*" in pattern and (numbers < (1, 6, 29) or (1, 7, 0) <= numbers < (1, 7, 16))
    path = absolute(pattern, "/" if by_directory else parent)
    if "*" in path:
        yield from view.glob(path)
    else:
        yield path


@lru_cache(maxsize=256)
def _expression(pattern: str) -> re.Pattern[str]:
    """Return Go's ``filepath.Match`` as an expression: ``*`` takes dotfiles, never a slash."""
    text, index = "", 0
    while index < len(pattern):
        char = pattern[index]
        end = pattern.find("]", index + 2) if char == "[" else -1
        if char == "*":
            text += "[^/]*"
        elif char == "?":
            text += "[^/]"
        elif end > 0:
            body = pattern[index + 1 : end]
            negated = body.startswith("^")
            body = body[1:] if negated else body
            text += "[" + ("^" if negated else "") + re.sub(r"([\[\\^&~|])", r"\\\1", body) + "]"
            index = end
        elif char == "\\" and index + 1 < len(pattern):
            index += 1
            text += re.escape(pattern[index])
        else:
            text += re.escape(char)
        index += 1
    return re.compile(text, re.DOTALL)


def matches(pattern: str, path: str) -> bool:
    """Tell whether an absolute pattern stands for a path."""
    if "*" not in pattern:
        return pattern == path
    return _expression(pattern).fullmatch(path) is not None


class Overlay:
    """The host's files with some of them as they would be."""

    def __init__(self, view: HostView, files: Mapping[str, bytes | None]) -> None:
        self._view = view
        self._files = files

    def read(self, path: str) -> bytes | None:
        """Return the file's bytes as they would be."""
        return self._files[path] if path in self._files else self._view.read(path)

    def glob(self, pattern: str) -> tuple[str, ...]:
        """Return what would match, in the order of the bytes."""
        found = {
            path for path in self._view.glob(pattern) if self._files.get(path, b"") is not None
        }
        found |= {
            path
            for path, content in self._files.items()
            if content is not None and matches(pattern, path)
        }
        return tuple(sorted(found, key=lambda path: path.encode("utf-8", "surrogateescape")))
