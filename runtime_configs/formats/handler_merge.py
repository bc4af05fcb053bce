"""Remove the rest of an edited handler of ours that a three-way merge leaves."""

from __future__ import annotations

from collections.abc import Mapping

from runtime_configs.formats import key_case
from runtime_configs.formats.documents import REMOVE, Change, KeyPath, load
from runtime_configs.formats.key_case import Keys
from runtime_configs.formats.merge import merge3
from runtime_configs.formats.values import table
from runtime_configs.model import Format


def changes_of_remains(
    before: Mapping[str, object],
    ours: Mapping[str, object],
    now: Mapping[str, object],
    place: KeyPath,
    needed: frozenset[str],
) -> list[Change]:
    """Return the removal of each handler of ours with only others' values left.

    Without any of the ``needed`` keys the engine rejects or misreads a handler, so a value that
    others added to our table is removed with the table.
    """
    known, made = table(before, *place), table(ours, *place)
    return [
        Change(path=(*place, name), value=REMOVE)
        for name, handler in table(now, *place).items()
        if name in made
        and name not in known
        and isinstance(handler, Mapping)
        and not needed & handler.keys()
    ]


def strip_our_changes(
    before: bytes | None,
    ours: bytes | None,
    now: bytes | None,
    kind: Format,
    *,
    path: str,
    place: KeyPath,
    needed: frozenset[str],
    keys: Keys,
) -> bytes | None:
    """Return a file without our handlers, and without parts of them. Raises ConfigError."""
    content = merge3(before, ours, now, kind, path=path, keys=keys)
    if content is None or ours is None or content == before or kind is Format.OPAQUE:
        return content
    first, written, left = (
        key_case.read(load(each or b"", kind, path=path), keys, key_case.any_case)
        for each in (before, ours, content)
    )
    changes = changes_of_remains(first, written, left, place, needed)
    if not changes:
        return content
    return key_case.apply_spelled(content, changes, kind, keys, key_case.any_case, path=path)
