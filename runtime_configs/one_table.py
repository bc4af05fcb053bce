"""What CRI-O's and Docker's adapters share: the handlers are one table, in every version."""

from __future__ import annotations

from collections.abc import Iterator

from runtime_configs.adapter import OVERRIDE_IGNORED, ConfigRequest, EngineAdapter
from runtime_configs.draft import Draft
from runtime_configs.formats import key_case
from runtime_configs.formats.documents import load
from runtime_configs.formats.key_case import Keys
from runtime_configs.formats.merge import merge3, rest_of
from runtime_configs.formats.our_handlers import (
    changes_of_remains,
    edit_without_ours,
    with_emptied_tables,
)
from runtime_configs.formats.values import KeyPath
from runtime_configs.model import FileEdit, Format, HostView, OwnFile, Role


class OneTableAdapter(EngineAdapter):
    """Finds and removes our handlers at one key path."""

    format: Format
    keys: Keys
    handlers: KeyPath
    default: KeyPath
    needed: frozenset[str]
    """Without any of these keys the engine rejects or misreads a handler."""

    def draft(self, request: ConfigRequest, view: HostView) -> Draft:
        """Return an empty draft, with a note of an option that has no effect."""
        result = Draft(view, self.keys)
        if request.desired.override:
            result.note(OVERRIDE_IGNORED)
        return result

    def strip_our_changes(self, edit: FileEdit, now: bytes | None) -> bytes | None:
        """Return a file without our handlers, and without parts of them. Raises ConfigError."""
        path, format = edit.path, edit.format
        content = merge3(edit.before, edit.after, now, format, path=path, keys=self.keys)
        if content in (None, edit.before) or edit.after is None or format is Format.OPAQUE:
            return content
        first, written, left = (
            key_case.read(load(each or b"", format, path=path), self.keys)
            for each in (edit.before, edit.after, content)
        )
        changes = changes_of_remains(first, written, left, self.handlers, self.needed)
        if not changes:
            return content
        changes = with_emptied_tables(changes, first, left)
        content = key_case.apply_spelled(content, changes, format, self.keys, path=path)
        return rest_of(edit.before, edit.after, content, format, path=path)

    def own_files(self, request: ConfigRequest, view: HostView) -> tuple[OwnFile, ...]:
        """Return the files with handlers of ours. Raises ConfigError."""
        edits = (
            edit_without_ours(
                path,
                content,
                self.format,
                role,
                paths=((self.handlers, self.default),),
                is_ours=request.is_ours,
            )
            for path, content, role in self.files(request, view)
        )
        return tuple(OwnFile(edit=each, certain=False) for each in edits if each is not None)

    def files(self, request: ConfigRequest, view: HostView) -> Iterator[tuple[str, bytes, Role]]:
        """Yield the path, content and role of each file that the engine reads."""
        raise NotImplementedError
