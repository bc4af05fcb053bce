"""Collect changes file by file, on top of the host's files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from runtime_configs.containerd import keys
from runtime_configs.containerd.schema import Era
from runtime_configs.formats import key_case
from runtime_configs.formats.documents import Change, KeyPath, apply_changes, load, lookup
from runtime_configs.model import EditSet, FileEdit, Format, HostView, Role
from runtime_configs.overlay import Overlay

ORDER: Final = (Role.DROP_IN, Role.IMPORTED, Role.TEMPLATE, Role.TOP_LEVEL)
"""An imported file is written before the one that imports it."""


def merging(
    document: Mapping[str, object], key: KeyPath, wanted: Mapping[str, object]
) -> Iterator[Change]:
    """Yield the changes that give a table all its desired keys; other keys stay."""
    present = lookup(document, key)
    if not isinstance(present, Mapping):
        yield Change(path=key, value=wanted)
        return
    for name, value in wanted.items():
        if isinstance(value, Mapping):
            yield from merging(document, (*key, name), value)
        else:
            yield Change(path=(*key, name), value=value)


class Draft:
    """New contents for files of the host; nothing is written."""

    def __init__(self, view: HostView, era: Era) -> None:
        self._host = view
        self._matching = keys.matching(era)
        self._files: dict[str, bytes | None] = {}
        self._roles: dict[str, Role] = {}
        self._formats: dict[str, Format] = {}
        self._notes: list[str] = []
        self.view: HostView = Overlay(view, self._files)

    def note(self, text: str) -> None:
        """Add a note for the user."""
        self._notes.append(text)

    def document(self, path: str) -> Mapping[str, object]:
        """Return a drafted TOML file as the engine reads it; empty if it does not exist."""
        return key_case.read(self._spelled(path), keys.ROOT, self._matching)

    def _spelled(self, path: str) -> Mapping[str, object]:
        return load(self.view.read(path) or b"", Format.TOML, path=path)

    def put(self, path: str, content: bytes, role: Role, kind: Format = Format.TOML) -> None:
        """Set the whole content of a file."""
        self._files[path] = content
        self._roles.setdefault(path, role)
        self._formats[path] = kind

    def apply(
        self,
        path: str,
        changes: Sequence[Change],
        role: Role,
        others: Mapping[str, object] | None = None,
    ) -> None:
        """Change keys of a TOML file; a key that already has its value keeps its bytes.

        Keys are written in the spelling of the file, or of ``others``, which the engine merges with
        it.
        """
        spelled = key_case.as_spelled(
            changes, self._spelled(path), keys.ROOT, self._matching, others
        )
        content = apply_changes(self.view.read(path) or b"", tuple(spelled), Format.TOML, path=path)
        self.put(path, content, role)

    def result(self) -> EditSet:
        """Return the edits in a safe order of writing."""
        edits = [
            FileEdit(
                path=path,
                before=self._host.read(path),
                after=after,
                format=self._formats[path],
                role=self._roles[path],
            )
            for path, after in self._files.items()
            if after != self._host.read(path)
        ]
        edits.sort(key=lambda edit: ORDER.index(edit.role))
        return EditSet(edits=tuple(edits), notes=tuple(self._notes))
