"""CRI-O's files in the order in which it reads them."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

from runtime_configs.documents import load, lookup
from runtime_configs.model import Format, HostView


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """One file as it is on the host."""

    path: str
    content: bytes
    data: Mapping[str, object]


def read_all(top_level: str, drop_in: str, view: HostView) -> list[ConfigFile]:
    """Return the top-level file and every file beside the drop-in, dotfiles too.

    Raises ConfigError for one that does not parse: CRI-O would not start with it.
    """
    directory = posixpath.dirname(drop_in)
    beside = {path for pattern in ("*", ".*") for path in view.glob(f"{directory}/{pattern}")}
    files: list[ConfigFile] = []
    for path in [top_level, *sorted(beside - {top_level}, key=str.encode)]:
        content = view.read(path)
        if content is not None:
            files.append(ConfigFile(path, content, load(content, Format.TOML, path=path)))
    return files


def later(files: list[ConfigFile], drop_in: str) -> list[ConfigFile]:
    """Return the drop-ins that are read after ours."""
    directory, ours = posixpath.dirname(drop_in), drop_in.encode()
    return [
        file
        for file in files
        if posixpath.dirname(file.path) == directory and file.path.encode() > ours
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
