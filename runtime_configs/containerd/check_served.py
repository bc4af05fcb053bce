"""Check a draft: what the engine would serve with it, and which file overrides it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from runtime_configs.adapter import ConfigRequest, Placement
from runtime_configs.containerd import keys, schema
from runtime_configs.containerd.merged import Merged, read_merged
from runtime_configs.containerd.shim import binary_of, flaw_of
from runtime_configs.draft import Draft
from runtime_configs.formats import key_case
from runtime_configs.formats.documents import Change
from runtime_configs.formats.values import MISSING, KeyPath, lookup
from runtime_configs.model import ConfigError, Role
from runtime_configs.shims import starts_runc


def check_served(result: Draft, request: ConfigRequest, ours: str) -> None:
    """Make sure that all files together serve the desired handlers.

    A file that is read after ours and has another value gets our value too; the rest of it stays.
    Raises ConfigError if even that does not help.
    """
    top_level, merged = request.top_level, read_merged(request, result.view)
    if _missing(merged, request) is not None:
        paths = [each.path for each in merged.files]
        if ours not in paths and request.placement is Placement.DROP_IN_ONLY:
            result.note(f"{top_level} does not import {ours} itself: its owner has to import it")
            return
        for each in merged.files[paths.index(ours) + 1 :] if ours in paths else ():
            changes = list(_overruled(each.document, request))
            if changes:
                result.apply(each.path, changes, Role.IMPORTED)
                result.note(
                    f"{each.path} is edited too, as it is read after {ours} and overrides it"
                )
        merged = read_merged(request, result.view)
    _check_spelling(merged, request)
    missing = _missing(merged, request)
    if missing is not None:
        raise ConfigError(
            top_level,
            f"with this config the engine would not serve {missing}",
            "compare with the output of containerd config dump",
        )


def _check_spelling(found: Merged, request: ConfigRequest) -> None:
    """Reject a handler of ours with a key in another file that our file can't override.

    Our file has one spelling of each key, and a drop-in can't remove another one.
    """
    for each in request.desired.handlers:
        place = ("containerd", "runtimes", each.name)
        handler = key_case.table_at(found.as_spelled, place, keys.CRI, keys.matching(found.era))
        flaw = flaw_of(handler, found.era)
        if handler and flaw and starts_runc(request.desired.runtime_type):
            raise ConfigError(
                request.top_level,
                f"with its imports the handler {each.name} {flaw}",
                "correct its table",
            )


def _missing(found: Merged, request: ConfigRequest) -> str | None:
    """Return what the engine would not serve as desired, or None."""
    for each in request.desired.handlers:
        if binary_of(found.handlers.get(each.name, {}), found.era) != each.binary_path:
            return f"the handler {each.name} with {each.binary_path}"
    default = request.desired.default
    if default is None or (found.legacy_default and request.use_legacy_config):
        return None
    if found.default == default and not found.legacy_default:
        return None
    return f"{default} as the default handler"


def _overruled(document: Mapping[str, object], request: ConfigRequest) -> Iterator[Change]:
    """Yield the changes of keys with another value, in the key paths of all versions."""
    for version in (1, 2, 3):
        wanted: dict[KeyPath, object] = {
            (*schema.runtimes(version), each.name, "options", "BinaryName"): each.binary_path
            for each in request.desired.handlers
        }
        if request.desired.default is not None:
            wanted[schema.default_name(version)] = request.desired.default
        for path, value in wanted.items():
            if lookup(document, path) not in (MISSING, value):
                yield Change(path=path, value=value)
