"""Decoded documents: key paths, values by path, equality of values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Final, TypeAlias

KeyPath: TypeAlias = tuple[str, ...]
Table: TypeAlias = dict[str, object]


class _Mark(Enum):
    """Values that no document can hold."""

    REMOVE = "remove"
    MISSING = "missing"


REMOVE: Final = _Mark.REMOVE
"""As a change's value: delete the key."""
MISSING: Final = _Mark.MISSING
"""The value at a key path that does not exist."""
NEUTRAL: Final[tuple[object, ...]] = ("", 0, False, [], {}, None, MISSING)
"""Values that an engine treats alike: a missing key and its zero value."""


class Verbatim(str):
    """A number as written in the document, so that no digit is lost."""

    __slots__ = ()


def lookup(data: Mapping[str, object], path: KeyPath) -> object:
    """Return the value at the key path, or MISSING; no path leads into a list."""
    value: object = data
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return MISSING
        value = value[key]
    return value


def table(data: Mapping[str, object], *path: str) -> Mapping[str, object]:
    """Return the table at a key path; empty if there is none."""
    value = lookup(data, path)
    return value if isinstance(value, Mapping) else {}


def text_at(data: Mapping[str, object], *path: str) -> str:
    """Return the text at a key path; empty if there is none."""
    value = lookup(data, path)
    return value if isinstance(value, str) else ""


def tables_of(data: Mapping[str, object], path: KeyPath) -> dict[str, Mapping[str, object]]:
    """Return the tables that stand below a key path, by name."""
    found = table(data, *path).items()
    return {name: value for name, value in found if isinstance(value, Mapping)}


def same(left: object, right: object) -> bool:
    """Return whether two decoded values are equal, types included; the order of keys is ignored."""
    if left is right:
        return True
    if isinstance(left, Mapping):
        return (
            isinstance(right, Mapping)
            and left.keys() == right.keys()
            and all(same(value, right[key]) for key, value in left.items())
        )
    if isinstance(left, (list, tuple)):
        return (
            isinstance(right, (list, tuple))
            and len(left) == len(right)
            and all(map(same, left, right))
        )
    if type(left) is not type(right):
        return False
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    return left == right


def differences(
    old: Mapping[str, object], new: Mapping[str, object], path: KeyPath = ()
) -> Iterator[tuple[KeyPath, object, object]]:
    """Yield each key path whose value differs, with the old value and the new one.

    Tables on both sides are compared key by key.
    """
    for key in [*old, *(key for key in new if key not in old)]:
        was, will = old.get(key, MISSING), new.get(key, MISSING)
        if was is will:
            continue
        if isinstance(was, Mapping) and isinstance(will, Mapping):
            yield from differences(was, will, (*path, key))
        elif not same(was, will):
            yield (*path, key), was, will


def with_value(data: Mapping[str, object], path: KeyPath, value: object) -> Table:
    """Return a copy with the value at the key path; REMOVE takes the key away.

    Missing tables along the path are created; a value there that is no table is replaced by one.
    Only the tables along the path are copied.
    """
    result = dict(data)
    table = result
    for key in path[:-1]:
        inner = table.get(key, MISSING)
        if not isinstance(inner, Mapping):
            if value is REMOVE:
                return result
            inner = {}
        copied = dict(inner)
        table[key] = copied
        table = copied
    if value is REMOVE:
        table.pop(path[-1], None)
    else:
        table[path[-1]] = value
    return result


def deep_merge(into: Table, source: Mapping[str, object]) -> Table:
    """Merge ``source`` over ``into``: tables by key, other values whole, as containerd 2.1.

    The tables below ``into`` stay as they are; those of the result may be ``source``'s own and must
    not be changed.
    """
    for key, value in source.items():
        present = into.get(key)
        if isinstance(present, Mapping) and isinstance(value, Mapping):
            into[key] = deep_merge(dict(present), value)
        else:
            into[key] = value
    return into


def overlaid(values: Sequence[object]) -> object:
    """Return the values merged, the last one wins: tables by key, other values as a whole."""
    result = values[0]
    for value in values[1:]:
        if isinstance(result, Mapping) and isinstance(value, Mapping):
            result = deep_merge(dict(result), value)
        else:
            result = value
    return result
