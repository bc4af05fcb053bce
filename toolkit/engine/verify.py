"""What is served compared with what should be. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from runtime_configs.model import EffectiveConfig
from toolkit.engine.facts import Expectation


def shortcomings(
    expected: Expectation, served: EffectiveConfig, listed: frozenset[str] | None = None
) -> tuple[str, ...]:
    """Name each expectation that is not met, one line each; empty where all are.

    ``listed`` are the handler names that the engine lists beside its config, where it does.
    """
    return (
        *_missing(expected, served, listed),
        *_left_over(expected, served),
        *_wrong_default(expected, served),
    )


def _missing(
    expected: Expectation, served: EffectiveConfig, listed: frozenset[str] | None
) -> Iterator[str]:
    if expected.served and served.disabled:
        yield f"no handler is served: {served.disabled}"
        return
    for name, binary in expected.served:
        handler = served.handlers.get(name)
        if handler is None:
            yield f"handler {name} is not served"
        elif not _same(handler.binary_path, binary):
            found = handler.binary_path or "no binary of its own"
            yield f"handler {name} has {found}, not {binary}"
        elif listed is not None and name not in listed:
            yield f"handler {name} is configured but not listed as served"


def _left_over(expected: Expectation, served: EffectiveConfig) -> Iterator[str]:
    for name, binary in expected.absent:
        handler = served.handlers.get(name)
        if handler is not None and _same(handler.binary_path, binary):
            yield f"handler {name} is still served with {binary}"


def _wrong_default(expected: Expectation, served: EffectiveConfig) -> Iterator[str]:
    if expected.default is not None and served.default != expected.default:
        yield f"the default handler is {served.default or 'none'}, not {expected.default}"
    if expected.absent_default is not None and served.default == expected.absent_default:
        yield f"the default handler is still {served.default}"


def _same(found: str | None, wanted: str) -> bool:
    return found is not None and posixpath.normpath(found) == posixpath.normpath(wanted)
