"""Keys that an engine matches without regard to case.

What an engine's decoder takes for one of its keys is read under that key's own name, and written
under the name that stands in the file, so that a table never gets a second spelling of a key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from msgspec import Struct, field

from runtime_configs.formats.documents import REMOVE, Change
from runtime_configs.formats.values import KeyPath, Table, overlaid

Matching: TypeAlias = Callable[[str, Iterable[str]], tuple[str, ...]]
"""Given a key's own name and a table's keys: those that the engine takes for it, the last one wins.

Of tables all count, laid one over the other.
"""


class Keys(Struct, frozen=True, kw_only=True):
    """What the keys of a table are to an engine."""

    own: frozenset[str] = frozenset()
    """Its own keys by name; empty where people give the names (handlers, plugins)."""
    below: Mapping[str, Keys] = field(default_factory=dict)
    """Of tables that stand below such a key."""
    each: Keys | None = None
    """Of every other table below."""

    def inside(self, name: str) -> Keys:
        """Return what the keys are in the table below one."""
        return self.below.get(name, self.each or EXACT)


EXACT: Final = Keys()
"""Keys that nothing is known of: each is what it is."""


def any_case(name: str, keys: Iterable[str]) -> tuple[str, ...]:
    """Return every key that differs in case alone, in the order in which they stand."""
    return tuple(key for key in keys if key.lower() == name.lower())


def read(table: Mapping[str, object], keys: Keys, matching: Matching) -> Table:
    """Return a table as the engine reads it, each of its own keys under its own name.

    A spelling that another one overrules, or that the engine does not know, is left out.
    """
    names = {name.lower(): name for name in keys.own}
    result: Table = {}
    for key, value in table.items():
        name = names.get(key.lower(), key)
        if name in result:
            continue
        if name in keys.own:
            found = [table[each] for each in matching(name, table)]
            if not found:
                continue
            value = overlaid(found)  # noqa: PLW2901 - the value that counts
        inside = keys.inside(name)
        if isinstance(value, Mapping) and inside is not EXACT:  # thousands of mirrors are
            value = read(value, inside, matching)  # noqa: PLW2901 - the same, spelled
        result[name] = value
    return result


def repeated(table: Mapping[str, object], keys: Keys) -> tuple[str, ...]:
    """Return the spellings of the first key of the engine's own that stands there twice."""
    for name in sorted(keys.own):
        found = any_case(name, table)
        if len(found) > 1:
            return found
    return ()


def table_at(
    document: Mapping[str, object], path: KeyPath, keys: Keys, matching: Matching
) -> Mapping[str, object]:
    """Return the table at a path with its keys as they stand; empty where there is none."""
    tables = [document]
    for name in path:
        tables = _below(tables, name, keys, matching)
        keys = keys.inside(name)
    found = overlaid(tables[::-1]) if tables else {}
    return found if isinstance(found, Mapping) else {}


def as_spelled(
    changes: Iterable[Change],
    document: Mapping[str, object],
    keys: Keys,
    matching: Matching,
    others: Mapping[str, object] | None = None,
) -> Iterator[Change]:
    """Yield the changes with each key as the document spells it.

    Where it has none, as ``others`` do, which the engine merges with it. Further spellings of a
    key that is set or removed go.
    """
    for change in changes:
        tables, level = [document, others or {}], keys
        path: KeyPath = ()
        for name in change.path[:-1]:
            path = (*path, _spelling(name, tables, level, matching))
            tables, level = _below(tables, name, level, matching), level.inside(name)
        last = change.path[-1]
        key = _spelling(last, tables, level, matching)
        value = change.value
        if isinstance(value, Mapping):
            inner = _below(tables, last, level, matching)
            value = _renamed(value, inner, level.inside(last), matching)
        elif last in level.own:
            there = _at(document, path)
            yield from (
                Change(path=(*path, each), value=REMOVE)
                for each in any_case(last, there)
                if each != key
            )
        yield Change(path=(*path, key), value=value)


def like(document: Mapping[str, object], model: Mapping[str, object], keys: Keys) -> Table:
    """Return a document with the engine's own keys spelled as in another document."""
    result: Table = {}
    for key, value in document.items():
        name = next((each for each in keys.own if each.lower() == key.lower()), key)
        spelled = key
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
        for table in tables:
            found = matching(name, table)
            if found:
                return found[-1]
    return name


def _below(
    tables: Sequence[Mapping[str, object]], name: str, keys: Keys, matching: Matching
) -> list[Mapping[str, object]]:
    """Return the tables below a key, the one first that counts."""
    found = []
    for table in tables:
        names = matching(name, table) if name in keys.own else (name,)
        inner = (table.get(each) for each in reversed(names))
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


def _at(document: Mapping[str, object], path: KeyPath) -> Mapping[str, object]:
    table: object = document
    for key in path:
        table = table.get(key) if isinstance(table, Mapping) else None
    return table if isinstance(table, Mapping) else {}
