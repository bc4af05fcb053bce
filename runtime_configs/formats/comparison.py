"""Compare two reports of an engine's settings, value by value."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from runtime_configs.formats.secrets import names_secret, without_secret_shapes
from runtime_configs.formats.values import MISSING, NEUTRAL, KeyPath, same

_NOT_SHOWN = "(not shown)"


def unintended_changes(
    before: Mapping[str, object], after: Mapping[str, object], intended: Iterable[KeyPath]
) -> Iterator[str]:
    """Yield a line for each changed setting that is not at or below an intended key path."""
    meant = tuple(intended)
    for path, line in changed_settings(before, after):
        if not any(path[: len(each)] == each for each in meant):
            yield line


def changed_settings(
    before: Mapping[str, object], after: Mapping[str, object]
) -> Iterator[tuple[KeyPath, str]]:
    """Yield each changed setting with a line that shows it; a new table counts by its values."""
    for path, old, new in _leaves((), before, after):
        if old not in NEUTRAL or new not in NEUTRAL:
            hidden = any(map(names_secret, path))
            values = _NOT_SHOWN if hidden else f"{shown(path, old)} -> {shown(path, new)}"
            yield path, f"{'.'.join(path)}: {values}"


def shown(path: KeyPath, value: object) -> str:
    """Return a setting's value for a message, as JSON and without secrets."""
    if value is MISSING:
        return "(unset)"
    if any(map(names_secret, path)):
        return _NOT_SHOWN
    return without_secret_shapes(json.dumps(value, default=str), _NOT_SHOWN)


def _leaves(path: KeyPath, old: object, new: object) -> Iterator[tuple[KeyPath, object, object]]:
    if isinstance(old, Mapping) or isinstance(new, Mapping):
        left = old if isinstance(old, Mapping) else {}
        right = new if isinstance(new, Mapping) else {}
        for key in dict.fromkeys([*left, *right]):
            yield from _leaves((*path, key), left.get(key, MISSING), right.get(key, MISSING))
    elif not same(old, new):
        yield path, old, new
