"""Keys that an engine matches without regard to case.

A key is read under the engine's own name for it and written in the file's spelling, so that a table
never gets a second spelling of a key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from msgspec import Struct, field

from runtime_configs.formats.documents import Change, apply_changes, load
from runtime_configs.formats.values import REMOVE, KeyPath, Table, overlaid, table
from runtime_configs.model import Format

Matching: TypeAlias = Callable[[str, Iterable[str]], tuple[str, ...]]
"""Returns the keys of a table that the engine reads as the key of a name; the last one wins.

Tables are merged in that order.
"""


class Keys(Struct, frozen=True, kw_only=True):
    """Which keys of a table the engine matches without regard to case."""

    own: frozenset[str] = frozenset()
    """Its own keys; empty if users choose the names (handlers, plugins)."""
    below: Mapping[str, Keys] = field(default_factory=dict)
    """The keys of the table below such a key."""
    each: Keys | None = None
    """The keys of every other table below; None if they are unknown."""

    def name_of(self, key: str) -> str:
        """Return the engine's own name for a key; for a key that is not its own, the key."""
        return next((name for name in self.own if name.lower() == key.lower()), key)

    def inside(self, name: str) -> Keys:
        """Return the keys of the table below one."""
        return self.below.get(name, self.each or EXACT)


EXACT: Final = Keys()
"""Unknown keys, which are matched exactly."""


def any_case(name: str, keys: Iterable[str]) -> tuple[str, ...]:
    """Return every key that differs in case only, in the order of the table."""
    return tuple(key for key in keys if key.lower() == name.lower())


def read(spelled: Mapping[str, object], keys: Keys, matching: Matching = any_case) -> Table:
    """Return a table as the engine reads it, each of its own keys under its own name.

    A spelling that the engine ignores, or that another one overrides, is left out.
    """
    result: Table = {}
    for key, value in spelled.items():
        name = keys.name_of(key)
        if name in result:
            continue
        if name in keys.own:
            found = [spelled[each] for each in matching(name, spelled)]
            if not found:
                continue
            value = overlaid(found)  # noqa: PLW2901 - the value that counts
        inside = keys.inside(name)
        if isinstance(value, Mapping) and inside is not EXACT:  # of which registries have thousands
            value = read(value, inside, matching)  # noqa: PLW2901 - the same, spelled
        result[name] = value
    return result


def repeated(spelled: Mapping[str, object], keys: Keys) -> tuple[str, ...]:
    """Return the spellings of the first own key of the engine that occurs twice."""
    for name in sorted(keys.own):
        found = any_case(name, spelled)
        if len(found) > 1:
            return found
    return ()


def table_at(
    document: Mapping[str, object], path: KeyPath, keys: Keys, matching: Matching
) -> Mapping[str, object]:
    """Return the table at a path with its keys as spelled; empty if there is none."""
    tables = [document]
    for name in path:
        tables = _below(tables, name, keys, matching)
        keys = keys.inside(name)
    found = overlaid(tables[::-1]) if tables else {}
    return found if isinstance(found, Mapping) else {}


def apply_spelled(
    content: bytes,
    changes: Iterable[Change],
    format: Format,
    keys: Keys,
    matching: Matching = any_case,
    *,
    path: str,
    others: Mapping[str, object] | None = None,
) -> bytes:
    """Return the document with the changes applied, with each key in the document's spelling.

    A key that it lacks is spelled as in ``others``, which the engine merges with it. Other
    spellings of a key that is set or removed are removed. Raises ConfigError as ``apply_changes``.
    """
    tables = [load(content, format, path=path), others or {}]
    spelled = [each for change in changes for each in _as_spelled(change, tables, keys, matching)]
    return apply_changes(content, spelled, format, path=path)


def _as_spelled(
    change: Change, tables: list[Mapping[str, object]], keys: Keys, matching: Matching
) -> Iterator[Change]:
    """Yield a change in the first table's spelling, after the removal of other spellings."""
    document = tables[0]
    path: KeyPath = ()
    *above, last = change.path
    for name in above:
        path = (*path, _spelling(name, tables, keys, matching))
        tables, keys = _below(tables, name, keys, matching), keys.inside(name)
    key = _spelling(last, tables, keys, matching)
    value = change.value
    if isinstance(value, Mapping):
        inner = _below(tables, last, keys, matching)
        value = _renamed(value, inner, keys.inside(last), matching)
    elif last in keys.own:
        for each in any_case(last, table(document, *path)):
            if each != key:
                yield Change(path=(*path, each), value=REMOVE)
    yield Change(path=(*path, key), value=value)


def like(document: Mapping[str, object], model: Mapping[str, object], keys: Keys) -> Table:
    """Return a document with the engine's own keys spelled as in another document."""
    result: Table = {}
    for key, value in document.items():
        name, spelled = keys.name_of(key), key
        if name in keys.own and key not in model:
            spelled = next((each for each in any_case(key, model) if each not in document), key)
        below, inside = model.get(spelled), keys.inside(name)
        if isinstance(value, Mapping) and isinstance(below, Mapping) and inside is not EXACT:
            value = like(value, below, inside)  # noqa: PLW2901 - the same, spelled
        result[spelled] = value
    return result


def _spelling(
    name: str, tables: Sequence[Mapping[str, object]], keys: Keys, matching: Matching
) -> str:
    if name in keys.own:
        for outer in tables:
            found = matching(name, outer)
            if found:
                return found[-1]
    return name


def _below(
    tables: Sequence[Mapping[str, object]], name: str, keys: Keys, matching: Matching
) -> list[Mapping[str, object]]:
    """Return the tables below a key, the effective one first."""
    found = []
    for outer in tables:
        names = matching(name, outer) if name in keys.own else (name,)
        inner = (outer.get(each) for each in reversed(names))
        found += [each for each in inner if isinstance(each, Mapping)]
    return found


def _renamed(
    value: Mapping[str, object],
    tables: Sequence[Mapping[str, object]],
    keys: Keys,
    matching: Matching,
) -> Table:
    return {
        _spelling(name, tables, keys, matching): (
            _renamed(inner, _below(tables, name, keys, matching), keys.inside(name), matching)
            if isinstance(inner, Mapping)
            else inner
        )
        for name, inner in value.items()
    }
