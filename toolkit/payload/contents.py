"""The entries of a generation, each with its bytes or its source file.

Computed from the payload, its checksums and the text of ``config.toml``; nothing is written.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from toolkit.payload.manifest import Entry, EntryKind, Manifest, stamp, sums_of
from toolkit.payload.records import GenerationState, Sum
from toolkit.payload.runtime_config import with_mode
from toolkit.payload.source import HOOK, HOOK_LINK, LIBRARIES, MODES, WRAPPED, PayloadSource
from toolkit.payload.wrappers import CONFIG_PATH, config_path, wrapper


class Contents(Struct, frozen=True, kw_only=True):
    """A generation's entries and the contents of its files."""

    manifest: Manifest
    files: Mapping[str, bytes | Path]


def source_sums(source: PayloadSource, before: GenerationState | None) -> dict[str, Sum]:
    """Return each file's checksum; an unchanged file is not read again."""
    known = before.sources if before is not None else {}
    stamps = {each.path: stamp(each.path) for each in source.files}
    fresh = sums_of(path for path, each in stamps.items() if known.get(str(path), ())[:-1] != each)
    return {
        str(path): (*each, fresh[path]) if path in fresh else known[str(path)]
        for path, each in stamps.items()
    }


def contents_of(
    source: PayloadSource,
    sums: Mapping[str, Sum],
    *,
    toolkit_dir: str,
    engine_runtime: str,
    require_driver: bool,
    config: bytes,
) -> Contents:
    """Lay out the generation.

    ``toolkit_dir`` and ``engine_runtime`` (the low-level runtime for containers while there is no
    driver) are absolute paths on the host. Raises PayloadError if configs for other modes are
    needed and ``config`` does not parse.
    """
    tree = _Tree(sums=sums)
    modes = {name: MODES[name] for name in source.substituted}
    for name in WRAPPED:
        file = source.file(name)
        if file is not None:
            tree.copy(f"{name}.real", file.path, file.mode | 0o555)
        if file is not None or name in modes:
            mode = modes.get(name, "")
            text = wrapper(name, toolkit_dir, engine_runtime, mode, require_driver=require_driver)
            tree.write(name, text, 0o755)
    if source.file(HOOK) is not None:
        tree.link(HOOK_LINK, HOOK)
    for file in source.files:
        if file.name in LIBRARIES:
            tree.copy(file.real_name, file.path, file.mode | 0o444)
            if file.real_name != file.name:
                tree.link(file.name, file.real_name)
        elif file.name not in WRAPPED:
            tree.copy(file.name, file.path, file.mode | 0o555)
    tree.config(CONFIG_PATH, config)
    for mode in modes.values():
        text = with_mode(config, mode, path=f"{toolkit_dir}/{CONFIG_PATH}")
        tree.config(config_path(mode), text)
    return Contents(manifest=Manifest(entries=tuple(tree.entries)), files=tree.files)


class _Tree(Struct):
    """Collects a generation's entries with their contents."""

    sums: Mapping[str, Sum]
    entries: list[Entry] = []
    files: dict[str, bytes | Path] = {}

    def copy(self, name: str, source: Path, mode: int) -> None:
        """Add a file of the payload; drop set-ID bits and write permission for group and others."""
        self.files[name] = source
        size, *_, sha256 = self.sums[str(source)]
        self._file(name, mode & 0o755, sha256, size)

    def write(self, name: str, content: bytes, mode: int) -> None:
        self.files[name] = content
        self._file(name, mode, hashlib.sha256(content).hexdigest(), len(content))

    def config(self, name: str, content: bytes) -> None:
        """Add a config and its two parent directories."""
        directory = posixpath.dirname(name)
        self.directory(posixpath.dirname(directory))
        self.directory(directory)
        self.write(name, content, 0o644)

    def link(self, name: str, target: str) -> None:
        self.entries.append(Entry(path=name, kind=EntryKind.LINK, target=target))

    def directory(self, name: str) -> None:
        self.entries.append(Entry(path=name, kind=EntryKind.DIRECTORY, mode=0o755))

    def _file(self, name: str, mode: int, sha256: str, size: int) -> None:
        self.entries.append(
            Entry(path=name, kind=EntryKind.FILE, mode=mode, sha256=sha256, size=size)
        )
