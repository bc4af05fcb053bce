"""CRI-O's files in the order in which it reads them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct

from runtime_configs.formats import key_case
from runtime_configs.formats.documents import load
from runtime_configs.formats.key_case import Keys
from runtime_configs.formats.values import KeyPath, table, tables_of, text_at
from runtime_configs.glob import escaped
from runtime_configs.model import ConfigError, Format, HostView

RUNTIME: Final[KeyPath] = ("crio", "runtime")
HANDLERS: Final[KeyPath] = (*RUNTIME, "runtimes")
DEFAULT: Final[KeyPath] = (*RUNTIME, "default_runtime")
HANDLER: Final = Keys(
    own=frozenset({
        "allowed_annotations", "container_create_timeout", "container_min_memory",
        "default_annotations", "disallowed_annotations", "exec_cpu_affinity",
        "inherit_default_runtime", "monitor_cgroup", "monitor_env", "monitor_exec_cgroup",
        "monitor_path", "no_sync_log", "platform_runtime_paths",
        "privileged_without_host_devices", "runtime_config_path", "runtime_path",
        "runtime_pull_image", "runtime_root", "runtime_type", "seccomp_profile",
        "stream_websockets",
    })
)  # fmt: skip
"""``RuntimeHandler`` in CRI-O's ``pkg/config/config.go``."""
_RUNTIME: Final = Keys(
    own=frozenset({"cdi_spec_dirs", "default_runtime", "hooks_dir", "runtimes"}),
    below={"runtimes": Keys(each=HANDLER)},
)
_CRIO: Final = Keys(own=frozenset({"runtime"}), below={"runtime": _RUNTIME})
KEYS: Final = Keys(own=frozenset({"crio"}), below={"crio": _CRIO})
"""Keys that CRI-O matches in any case (``unifyStruct`` in BurntSushi/toml); names are exact."""


class ConfigFile(Struct, frozen=True):
    """One file as it is on the host."""

    path: str
    content: bytes
    data: Mapping[str, object]
    """The parsed file, with CRI-O's own keys in its own spelling."""


def read_all(top_level: str, drop_in: str, view: HostView) -> list[ConfigFile]:
    """Return the top-level file and every file below the drop-in's directory, dotfiles too.

    Raises ConfigError for one that does not parse: CRI-O would not start with it.
    """
    files: list[ConfigFile] = []
    for path in [top_level, *_below(posixpath.dirname(drop_in), top_level, view)]:
        content = view.read(path)
        if content is not None:
            files.append(ConfigFile(path, content, read(content, path)))
    return files


def read(content: bytes, path: str) -> Mapping[str, object]:
    """Decode a file as CRI-O reads it: its own keys in any case. Raises ConfigError.

    Also for a key in two spellings: which of them CRI-O uses varies from start to start
    (``unifyStruct`` in BurntSushi/toml iterates over a Go map).
    """
    document = load(content, Format.TOML, path=path)
    for place, keys in _levels(document):
        twice = key_case.repeated(table(document, *place), keys)
        if twice:
            raise ConfigError(
                path,
                f"{'.'.join(place)} has {' and '.join(twice)}, of which CRI-O takes either",
                "keep one of them",
            )
    return key_case.read(document, KEYS)


def _levels(document: Mapping[str, object]) -> Iterator[tuple[KeyPath, Keys]]:
    """Yield the tables that concern handlers, as the document spells them."""
    pending: list[tuple[KeyPath, Keys]] = [((), KEYS)]
    while pending:
        place, keys = pending.pop()
        yield place, keys
        for name in tables_of(document, place):
            inside = keys.inside(keys.name_of(name))
            if inside is not key_case.EXACT:
                pending.append(((*place, name), inside))


def default_of(data: Mapping[str, object]) -> str | None:
    """Return the default handler that a document names."""
    return text_at(data, *DEFAULT) or None


def runtimes_of(data: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    """Return the handlers' tables of a document."""
    return tables_of(data, HANDLERS)


def _below(directory: str, top_level: str, view: HostView) -> Iterator[str]:
    """Yield every file below the directory, in the order of CRI-O's walk.

    CRI-O treats a link as a file, even one to a directory, which it then cannot read
    (``UpdateFromPath`` in ``pkg/config/config.go``).
    """
    pending = _entries(directory, view)
    while pending:
        path = pending.pop()
        if view.is_directory(path):
            pending += _entries(path, view)
        elif path != top_level:
            yield path


def _entries(directory: str, view: HostView) -> list[str]:
    """Return a directory's entries in reverse order."""
    return list(reversed(view.glob(posixpath.join(escaped(directory), "*"))))
