"""The changes of one file for the desired handlers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from runtime_configs.adapter import ConfigRequest
from runtime_configs.containerd import schema
from runtime_configs.containerd.shim import OLD_KEYS
from runtime_configs.formats.documents import MISSING, REMOVE, Change, KeyPath, lookup


def merging(
    document: Mapping[str, object], key: KeyPath, wanted: Mapping[str, object]
) -> Iterator[Change]:
    """Yield the changes that give a table all its desired keys; other keys stay."""
    present = lookup(document, key)
    if not isinstance(present, Mapping):
        yield Change(path=key, value=wanted)
        return
    for name, value in wanted.items():
        if isinstance(value, Mapping):
            yield from merging(document, (*key, name), value)
        else:
            yield Change(path=(*key, name), value=value)


def changes(
    document: Mapping[str, object],
    request: ConfigRequest,
    tables: Mapping[str, Mapping[str, object]],
    config_version: int,
    *,
    default: str | None,
) -> Iterator[Change]:
    """Yield the changes of a document: the default's name, the CDI switch, the handlers."""
    old = request.version is not None and request.version.numbers < (1, 7, 0)
    if request.desired.enable_cdi and not old:
        yield Change(path=schema.enable_cdi(config_version), value=True)
    if default is not None:
        yield Change(path=schema.default_name(config_version), value=default)
    for name, wanted in tables.items():
        place = (*schema.runtimes(config_version), name)
        yield from merging(document, place, wanted)
        for key in OLD_KEYS:
            if lookup(document, (*place, *key)) is not MISSING and lookup(wanted, key) is MISSING:
                yield Change(path=(*place, *key), value=REMOVE)
