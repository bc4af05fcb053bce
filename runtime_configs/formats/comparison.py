"""Compare two dumps of an engine's settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from runtime_configs.formats.secrets import names_secret, without_secret_shapes
from runtime_configs.formats.values import MISSING, NEUTRAL, KeyPath, differences


def unintended_changes(
    before: Mapping[str, object], after: Mapping[str, object], intended: Iterable[KeyPath]
) -> Iterator[str]:
    """Yield a line for each changed setting that is not at or below an intended key path."""
    meant = tuple(intended)
    for step in differences(before, after):
        if any(step.path[: len(path)] == path for path in meant):
            continue
        if isinstance(step.old, Mapping) or isinstance(step.new, Mapping):
            # An added or removed table may consist of intended changes only.
            old = step.old if isinstance(step.old, Mapping) else {}
            new = step.new if isinstance(step.new, Mapping) else {}
            inner = [
                path[len(step.path) :] for path in meant if path[: len(step.path)] == step.path
            ]
            lines = unintended_changes(old, new, inner)
            yield from (f"{'.'.join(step.path)}.{line}" for line in lines)
        elif step.old not in NEUTRAL or step.new not in NEUTRAL:
            hidden = any(map(names_secret, step.path))
            values = "(not shown)" if hidden else f"{_shown(step.old)} -> {_shown(step.new)}"
            yield f"{'.'.join(step.path)}: {values}"


def _shown(value: object) -> str:
    return "(unset)" if value is MISSING else without_secret_shapes(repr(value), "(not shown)")
