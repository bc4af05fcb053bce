"""Remove our handlers from a file: the rest after a merge, or all of them by their binaries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from runtime_configs.formats.documents import Change, apply_changes, load
from runtime_configs.formats.values import MISSING, REMOVE, KeyPath, lookup, table, tables_of
from runtime_configs.model import FileEdit, Format, Role

HandlerPaths: TypeAlias = tuple[tuple[KeyPath, KeyPath], ...]
"""The key paths of tables of handlers, each with that of the default's name."""


def changes_of_remains(
    before: Mapping[str, object],
    ours: Mapping[str, object],
    now: Mapping[str, object],
    handlers: KeyPath,
    needed: frozenset[str],
) -> list[Change]:
    """Return the removal of each handler of ours with only others' values left.

    Without any of the ``needed`` keys the engine rejects or misreads a handler, so a value that
    others added to our table is removed with the table.
    """
    known, made = table(before, *handlers), table(ours, *handlers)
    return [
        Change(path=(*handlers, name), value=REMOVE)
        for name, handler in tables_of(now, handlers).items()
        if name in made and name not in known and not needed & handler.keys()
    ]


def with_emptied_tables(
    removals: list[Change], before: Mapping[str, object], now: Mapping[str, object]
) -> list[Change]:
    """Return removals from one table, with the tables that only we made and that they empty."""
    paths = [each.path for each in removals]
    while paths and (parent := paths[0][:-1]) and lookup(before, parent) is MISSING:
        if len(table(now, *parent)) > len(paths):
            break
        paths = [parent]
    return [Change(path=each, value=REMOVE) for each in paths]


def edit_without_ours(
    path: str,
    content: bytes,
    format: Format,
    role: Role,
    *,
    paths: HandlerPaths,
    is_ours: Callable[[object], bool],
    stock: str | None = None,
) -> FileEdit | None:
    """Return the edit that removes the handlers with a binary that ``is_ours``; None without any.

    A default of ours is removed with them, and a drop-in without other settings as a whole.
    ``stock`` is the engine's default handler if a file with other handlers drops it: one of those
    is the default then. Raises ConfigError for a file that does not parse.
    """
    document = load(content, format, path=path)
    changes: list[Change] = []
    for handlers, default in paths:
        found = table(document, *handlers)
        ours = [name for name, handler in found.items() if _has(handler, is_ours)]
        changes += [Change(path=(*handlers, name), value=REMOVE) for name in ours]
        if lookup(document, default) in ours:
            others = [name for name in found if name not in ours]
            lacks = stock is not None and others and stock not in others
            changes.append(Change(path=default, value=others[0] if lacks else REMOVE))
    if not changes:
        return None
    left: bytes | None = apply_changes(content, changes, format, path=path)
    if role is Role.DROP_IN and not _says_something(load(left or b"", format, path=path)):
        left = None
    return FileEdit(path=path, before=content, after=left, format=format, role=role)


def _has(value: object, is_ours: Callable[[object], bool]) -> bool:
    """Return whether a handler's table has such a value, at any depth."""
    if isinstance(value, Mapping):
        return any(_has(each, is_ours) for each in value.values())
    return is_ours(value)


def _says_something(document: Mapping[str, object]) -> bool:
    """Return whether a document has a value other than its version and the CDI switch."""
    return any(
        _says_something(value)
        if isinstance(value, Mapping)
        else name not in ("version", "enable_cdi")
        for name, value in document.items()
    )
