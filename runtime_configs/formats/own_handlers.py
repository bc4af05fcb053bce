"""Our handlers in a file, told by what they run: for a setup that no journal names any more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from runtime_configs.formats.documents import REMOVE, Change, KeyPath, apply_changes, load, lookup
from runtime_configs.formats.values import table
from runtime_configs.model import FileEdit, Format, Role

Places = tuple[tuple[KeyPath, KeyPath], ...]
"""Where an engine's files have handlers, and the default's name that goes with them."""


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
    """Return the edit that takes out the handlers that run a binary in ``toolkit_dir``.

    The default goes with them where it is one of them, and a drop-in that says nothing else goes
    whole. ``stock`` is the engine's own default where it lacks that beside a file's other handlers:
    one of those is the default then. None where there are none of ours. Raises ConfigError for a
    file that does not parse.
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
    """Tell whether a document has a value besides its version and the switch for CDI."""
    return any(
        _says_something(value)
        if isinstance(value, Mapping)
        else name not in ("version", "enable_cdi")
        for name, value in document.items()
    )
