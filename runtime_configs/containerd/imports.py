"""The files that a top-level config imports, in the order in which the engine reads them."""

from __future__ import annotations

import posixpath
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from runtime_configs import glob
from runtime_configs.adapter import ConfigRequest
from runtime_configs.containerd import keys, schema
from runtime_configs.containerd.schema import Era
from runtime_configs.formats import key_case
from runtime_configs.formats.documents import load
from runtime_configs.formats.values import table, text_at
from runtime_configs.model import ConfigError, Format, HostView, Version

DEFAULTS: Final = {"root": "/var/lib/containerd", "state": "/run/containerd"}


class LoadedFile(Struct, frozen=True, kw_only=True):
    """One file as the engine reads it."""

    path: str
    document: Mapping[str, object]
    """With each key of containerd's own under its own name."""
    plugins: Mapping[str, object]
    """The plugins' tables as spelled in the file: so 2.x merges them."""

    @property
    def version(self) -> int:
        """The version that the file names; 0 without one, which means 1."""
        return declared_version(self.document, self.path)


def declared_version(document: Mapping[str, object], path: str) -> int:
    """Return a document's ``version``, 0 without one. Raises ConfigError if it is no number."""
    value = document.get("version", 0)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(path, "its version is not a number", "write version = 2 or later")
    return int(value)


def import_patterns(document: Mapping[str, object], path: str) -> tuple[str, ...]:
    """Return the strings of ``imports``. Raises ConfigError if it is not a list of strings."""
    value = document.get("imports", [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ConfigError(path, "imports is not a list of strings", "correct it")
    return tuple(str(each) for each in value)


def load_order(
    view: HostView, top_level: str, version: Version | None = None, era: Era | None = None
) -> tuple[LoadedFile, ...]:
    """Return the top-level file and all that it imports, breadth first, each once.

    Missing files are left out, so the result is empty without a top-level file. Raises ConfigError
    for a file that does not parse. (``LoadConfig`` of 1.6 to 2.3: the queue and the check for
    circular imports are the same in all.)
    """
    found: dict[str, LoadedFile] = {}
    matching = keys.matching(era or schema.era(version))
    pending = deque([top_level])
    while pending:
        path = pending.popleft()
        if path in found:
            continue
        content = view.read(path)
        if content is None:
            continue
        spelled = load(content, Format.TOML, path=path)
        file = LoadedFile(
            path=path,
            document=key_case.read(spelled, keys.ROOT, matching),
            plugins=table(key_case.read(spelled, keys.FILE, matching), "plugins"),
        )
        found[path] = file
        for pattern in import_patterns(file.document, path):
            pending.extend(resolve(pattern, path, view, version))
    return tuple(found.values())


def every_file(request: ConfigRequest, view: HostView) -> tuple[LoadedFile, ...]:
    """Return the files that the engine of a request will read, in order. Raises ConfigError."""
    return load_order(view, request.top_level, request.version, schema.era_of(request))


def directory(files: Sequence[LoadedFile], key: str) -> str:
    """Return containerd's ``root`` or ``state``."""
    found = (text_at(each.document, key) for each in reversed(files))
    return next(filter(None, found), DEFAULTS[key])


def absolute(pattern: str, parent: str) -> str:
    """Return an import as an absolute path: it is relative to the file that names it."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(parent), pattern))
    # Go's Clean leaves one slash of two at the start, which POSIX treats specially.
    return path.removeprefix("/") if path.startswith("//") else path


def resolve(pattern: str, parent: str, view: HostView, version: Version | None) -> Iterator[str]:
    """Yield the paths of one import. Only ``*`` makes it a pattern.

    Before 1.6.29 and 1.7.16 a relative pattern is relative to the daemon's working directory, which
    is the root under systemd (``resolveImports``). Raises ConfigError for a malformed pattern, with
    which containerd does not start (measured on 1.6.20, 1.7.24 and 2.1.9).
    """
    numbers = (9, 0, 0) if version is None else version.numbers
    by_directory = "*" in pattern and (numbers < (1, 6, 29) or (1, 7, 0) <= numbers < (1, 7, 16))
    path = absolute(pattern, "/" if by_directory else parent)
    if "*" not in path:
        yield path
        return
    try:
        glob.check(path)
    except glob.MalformedPatternError as error:
        raise ConfigError(
            parent,
            f'imports has "{pattern}", an invalid pattern: containerd refuses it once a file\'s '
            "name comes as far as the mistake",
            "correct it",
        ) from error
    yield from view.glob(path)


def matches(pattern: str, path: str) -> bool:
    """Return whether an absolute import includes a path."""
    if "*" not in pattern:
        return pattern == path
    return glob.matches(pattern, path)
