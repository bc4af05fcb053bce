"""The engine's files that a setup writes: without us, now, and after it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from runtime_configs.formats.documents import load
from runtime_configs.model import ConfigError, FileEdit, Format, HostView, Role
from toolkit.journal.record import Record


class FileChange(Struct, frozen=True, kw_only=True):
    """One file of the engine: without us, now, and after the setup."""

    path: str
    format: Format
    role: Role
    base: bytes | None
    now: bytes | None
    after: bytes | None

    @property
    def edit(self) -> FileEdit:
        """The edit from the present content to the planned one."""
        return self._edit(self.after)

    @property
    def edit_to_base(self) -> FileEdit:
        """The edit from the present content to the one without us."""
        return self._edit(self.base)

    def _edit(self, after: bytes | None) -> FileEdit:
        return FileEdit(
            path=self.path, before=self.now, after=after, format=self.format, role=self.role
        )

    @property
    def differs(self) -> bool:
        """True where the file has to be written."""
        return self.now != self.after


def changes(
    record: Record | None,
    view: HostView,
    without: Mapping[str, bytes | None],
    edits: tuple[FileEdit, ...],
) -> tuple[FileChange, ...]:
    """Return every file that has or had a change of ours, with its planned content.

    A file of the journal that no edit names returns to its base.
    """
    found = []
    for edit in edits:
        now = view.read(edit.path)
        after = now if same_meaning(edit.path, edit.format, now, edit.after) else edit.after
        found.append(
            FileChange(
                path=edit.path,
                format=edit.format,
                role=edit.role,
                base=edit.before,
                now=now,
                after=after,
            )
        )
    named = {edit.path for edit in edits}
    for each in () if record is None else record.files:
        if each.path not in named:
            base = without[each.path]
            found.append(
                FileChange(
                    path=each.path,
                    format=each.format,
                    role=each.role,
                    base=base,
                    now=view.read(each.path),
                    after=base,
                )
            )
    return tuple(found)


def same_meaning(path: str, kind: Format, one: bytes | None, other: bytes | None) -> bool:
    """Return whether two contents mean the same to the engine, so that no write is needed.

    A comment among our lines or another order is no reason for a reload.
    """
    if one is None or other is None or one == other or kind is Format.OPAQUE:
        return one == other
    try:
        return load(one, kind, path=path) == load(other, kind, path=path)
    except ConfigError:
        return False
