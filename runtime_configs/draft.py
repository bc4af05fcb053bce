"""Collect an engine's changes file by file, on top of the host's files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from runtime_configs.formats import key_case
from runtime_configs.formats.documents import Change, load
from runtime_configs.formats.key_case import EXACT, Keys, Matching
from runtime_configs.model import EditSet, FileEdit, Format, HostView, Role
from runtime_configs.overlay import Overlay

ORDER: Final = (Role.HOOK, Role.DROP_IN, Role.IMPORTED, Role.TEMPLATE, Role.TOP_LEVEL)
"""An imported file is written before the one that imports it."""


class Draft:
    """New contents for files of the host; nothing is written.

    ``keys`` are those of a whole file, and ``matching`` how the engine finds them.
    """

    def __init__(
        self, view: HostView, keys: Keys = EXACT, matching: Matching = key_case.any_case
    ) -> None:
        self._host = view
        self._keys = keys
        self._matching = matching
        self._files: dict[str, bytes | None] = {}
        self._kinds: dict[str, tuple[Role, Format]] = {}
        self._notes: list[str] = []
        self.view: HostView = Overlay(view, self._files)

    def note(self, text: str) -> None:
        """Add a note for the user."""
        self._notes.append(text)

    def document(self, path: str, format: Format = Format.TOML) -> Mapping[str, object]:
        """Return a drafted file as the engine reads it; empty if it does not exist."""
        document = load(self.view.read(path) or b"", format, path=path)
        return key_case.read(document, self._keys, self._matching)

    def put(self, path: str, content: bytes, role: Role, format: Format = Format.TOML) -> None:
        """Set the whole content of a file; its present content is no edit."""
        self._files[path] = content
        self._kinds.setdefault(path, (role, format))

    def apply(
        self,
        path: str,
        changes: Iterable[Change],
        role: Role,
        format: Format = Format.TOML,
        others: Mapping[str, object] | None = None,
    ) -> None:
        """Change keys of a file; a key that already has its value keeps its bytes.

        Keys are written in the spelling of the file, or of ``others``, which the engine merges with
        it. Raises ConfigError for a file that does not parse or can't be edited.
        """
        present = self.view.read(path) or b""
        content = key_case.apply_spelled(
            present, changes, format, self._keys, self._matching, path=path, others=others
        )
        self.put(path, content, role, format)

    def result(self) -> EditSet:
        """Return the edits in a safe order of writing."""
        edits = []
        for path, after in self._files.items():
            before, (role, format) = self._host.read(path), self._kinds[path]
            if after != before:
                edit = FileEdit(path=path, before=before, after=after, format=format, role=role)
                edits.append(edit)
        edits.sort(key=lambda edit: ORDER.index(edit.role))
        return EditSet(edits=tuple(edits), notes=tuple(self._notes))
