"""CRI-O's files in the order in which it reads them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping

from msgspec import Struct

from runtime_configs.formats.documents import load, lookup
from runtime_configs.glob import escaped, glob_order
from runtime_configs.model import Format, HostView


class ConfigFile(Struct, frozen=True):
    """One file as it is on the host."""

    path: str
    content: bytes
    data: Mapping[str, object]


def read_all(top_level: str, drop_in: str, view: HostView) -> list[ConfigFile]:
    """Return the top-level file and every file below the drop-in's directory, dotfiles too.

    Raises ConfigError for one that does not parse: CRI-O would not start with it.
    """
    files: list[ConfigFile] = []
    for path in [top_level, *_below(posixpath.dirname(drop_in), top_level, view)]:
        content = view.read(path)
        if content is not None:
            files.append(ConfigFile(path, content, load(content, Format.TOML, path=path)))
    return files


def later(files: list[ConfigFile], drop_in: str) -> list[ConfigFile]:
    """Return the drop-ins that are read after ours."""
    inside = posixpath.dirname(drop_in).rstrip("/") + "/"
    return [
        file
        for file in files
        if file.path.startswith(inside) and glob_order(file.path) > glob_order(drop_in)
    ]


def default_of(data: Mapping[str, object]) -> str | None:
    """Return the default handler that a document names."""
    value = lookup(data, ("crio", "runtime", "default_runtime"))
    return value if isinstance(value, str) and value else None


def runtimes_of(data: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    """Return the handlers' tables of a document."""
    tables = lookup(data, ("crio", "runtime", "runtimes"))
    if not isinstance(tables, Mapping):
        return {}
    return {name: table for name, table in tables.items() if isinstance(table, Mapping)}


def _below(directory: str, top_level: str, view: HostView) -> Iterator[str]:
    """Yield every file of the directory and of those in it, as CRI-O's walk comes to them.

    It takes a link for a file, to a directory too, which it then can't read (``UpdateFromPath`` in
    ``pkg/config/config.go``).
    """
    pending = _entries(directory, view)
    while pending:
        path = pending.pop()
        if view.is_directory(path):
            pending += _entries(path, view)
        elif path != top_level:
            yield path


def _entries(directory: str, view: HostView) -> list[str]:
    """Return what is in a directory, the first one last."""
    return list(reversed(view.glob(f"{escaped(directory)}/*")))
