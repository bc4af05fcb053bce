"""Compare two reports of an engine's settings, in lines for a message."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

from runtime_configs.formats.secrets import REDACTED, names_secret, without_secret_shapes
from runtime_configs.formats.values import MISSING, NEUTRAL, KeyPath, Table, same, table

CHANGED: Final = "{} -> {}"
NOT_IN_FORCE: Final = "{} is in force, the files say {}"


def differing(
    old: Mapping[str, object],
    new: Mapping[str, object],
    meant: Collection[KeyPath],
    words: str,
) -> tuple[str, ...]:
    """Return a line for each setting that differs and is not at or below a ``meant`` key path.

    ``words`` is CHANGED or NOT_IN_FORCE. A missing key equals a zero value; no secret is shown.
    """
    return tuple(
        f"{'.'.join(path)}: {words.format(_shown(path, was), _shown(path, now))}"
        for path, was, now in _leaves((), old, new)
        if not any(path[: len(each)] == each for each in meant)
        and not (was in NEUTRAL and now in NEUTRAL)
    )


def common(
    settings: Mapping[str, object],
    others: Mapping[str, object],
    is_whole: Callable[[KeyPath], bool],
    place: KeyPath = (),
) -> Table:
    """Return the settings that the others have too, and all of a table that ``is_whole``."""
    return {
        key: common(value, table(others, key), is_whole, (*place, key))
        if isinstance(value, Mapping) and key in others
        else value
        for key, value in settings.items()
        if key in others or is_whole(place)
    }


def _leaves(path: KeyPath, old: object, new: object) -> Iterator[tuple[KeyPath, object, object]]:
    """Yield the differences value by value: a new table may consist of meant ones only."""
    if isinstance(old, Mapping) or isinstance(new, Mapping):
        left = old if isinstance(old, Mapping) else {}
        right = new if isinstance(new, Mapping) else {}
        for key in dict.fromkeys([*left, *right]):
            yield from _leaves((*path, key), left.get(key, MISSING), right.get(key, MISSING))
    elif not same(old, new):
        yield path, old, new


def _shown(path: KeyPath, value: object) -> str:
    if value is MISSING:
        return "nothing"
    if any(map(names_secret, path)):
        return REDACTED
    return without_secret_shapes(json.dumps(value, default=str))
