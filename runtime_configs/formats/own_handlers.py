"""Find our handlers in a file by their binaries, for a setup without a journal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from runtime_configs.formats.documents import Change, apply_changes, load
from runtime_configs.formats.values import REMOVE, KeyPath, lookup, table
from runtime_configs.model import FileEdit, Format, Role

Places = tuple[tuple[KeyPath, KeyPath], ...]
"""The key paths of handlers, each with that of the default's name."""


def edit_without_ours(
    path: str,
    content: bytes,
    kind: Format,
    role: Role,
    *,
    places: Places,
    toolkit_dir: str,
    stock: str | None = None,
) -> FileEdit | None:
    """Return the edit that removes the handlers with a binary in ``toolkit_dir``; None without any.

    A default of ours is removed with them, and a drop-in without other settings as a whole.
    ``stock`` is the engine's default handler if a file with other handlers drops it: one of those
    is the default then. Raises ConfigError for a file that does not parse.
    """
    document = load(content, kind, path=path)
    changes: list[Change] = []
    for place, default in places:
        handlers = table(document, *place)
        ours = _names(toolkit_dir, handlers)
        changes += [Change(path=(*place, name), value=REMOVE) for name in ours]
        if lookup(document, default) in ours:
            others = [name for name in handlers if name not in ours]
            lacks = stock is not None and others and stock not in others
            changes.append(Change(path=default, value=others[0] if lacks else REMOVE))
    if not changes:
        return None
    left: bytes | None = apply_changes(content, changes, kind, path=path)
    if role is Role.DROP_IN and not _says_something(load(left or b"", kind, path=path)):
        left = None
    return FileEdit(path=path, before=content, after=left, format=kind, role=role)


def _names(toolkit_dir: str, handlers: Mapping[str, object]) -> tuple[str, ...]:
    below = f"{toolkit_dir.rstrip('/')}/"
    return tuple(
        name
        for name, handler in handlers.items()
        if any(each.startswith(below) for each in _texts(handler))
    )


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)


def _says_something(document: Mapping[str, object]) -> bool:
    """Return whether a document has a value other than its version and the CDI switch."""
    return any(
        _says_something(value)
        if isinstance(value, Mapping)
        else name not in ("version", "enable_cdi")
        for name, value in document.items()
    )
