"""What is served compared with what should be. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from runtime_configs.model import EffectiveConfig
from toolkit.engine.answers import Lack, LackKind, Served
from toolkit.engine.facts import Expectation


def shortcomings(expected: Expectation, served: Served) -> tuple[str, ...]:
    """Name each expectation that is not met, one line each; empty where all are."""
    if served.config is None:
        return () if _nothing_is_right(expected, served.lack) else (_reason(served.lack),)
    return (
        *_missing(expected, served.config, served.listed),
        *_left_over(expected, served.config),
        *_wrong_default(expected, served.config),
    )


def _nothing_is_right(expected: Expectation, lack: Lack | None) -> bool:
    """Tell whether serving no pods at all is all that is expected: an engine told not to."""
    wanted = bool(expected.served) or expected.default is not None
    return not wanted and lack is not None and lack.kind is LackKind.DISABLED


def _reason(lack: Lack | None) -> str:
    return "it says nothing" if lack is None else lack.reason


def _missing(
    expected: Expectation, served: EffectiveConfig, listed: frozenset[str] | None
) -> Iterator[str]:
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
