"""Remove the rest of an edited handler of ours that a three-way merge leaves."""

from __future__ import annotations

from collections.abc import Mapping

from runtime_configs.formats.documents import Change
from runtime_configs.formats.values import REMOVE, KeyPath, table


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
