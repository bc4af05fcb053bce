"""CRI-O's settings compared: before and after our change, in force and in its files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from runtime_configs.adapter import ConfigRequest
from runtime_configs.crio.load_order import DEFAULT, HANDLERS, RUNTIME
from runtime_configs.formats.comparison import CHANGED, NOT_IN_FORCE, common, differing
from runtime_configs.formats.values import KeyPath, table
from runtime_configs.model import EffectiveConfig

NAMED: tuple[KeyPath, ...] = (HANDLERS, (*RUNTIME, "workloads"))
"""Tables with user-chosen keys: a key missing on either side is a difference."""


def unintended(
    before: EffectiveConfig, after: EffectiveConfig, request: ConfigRequest
) -> tuple[str, ...]:
    """Describe changed settings other than our handlers and the default."""
    meant: list[KeyPath] = [(*HANDLERS, handler.name) for handler in request.desired.handlers]
    if request.desired.default is not None:
        meant.append(DEFAULT)
        meant += following(before)
    if not request.desired.handlers:
        meant.append((*RUNTIME, "cdi_spec_dirs"))
    if not before.handlers:
        # CRI-O prints its built-in handlers once there are others.
        meant += [(*HANDLERS, name) for name in after.handlers]
    return differing(before.raw, after.raw, meant, CHANGED)


def pending(
    live: EffectiveConfig, files: EffectiveConfig, request: ConfigRequest
) -> tuple[str, ...]:
    """Describe each setting of the files that is not in force, one line each.

    ``live`` is the running CRI-O's report, with every setting. ``files`` is the output of ``crio
    config``: it prints settings with default values as comments, and an empty text for a handler's
    keys that CRI-O fills in at its start (``pkg/config/template.go``; tried with 1.36.3). So a
    setting that was removed from the files is not found.
    """
    ours = {each.name for each in request.desired.handlers}
    meant = [(*HANDLERS, name) for name in ours]
    if live.default in ours:
        meant += [DEFAULT, *following(live)]
    if not files.handlers or not live.handlers:
        meant += [HANDLERS]
    from_files = _set_values(files.raw, ())
    in_force = common(live.raw, from_files, NAMED.__contains__)
    return differing(in_force, from_files, meant, NOT_IN_FORCE)


def following(before: EffectiveConfig) -> Iterator[KeyPath]:
    """Yield the keys of handlers that inherit from the default handler."""
    for name, handler in before.handlers.items():
        if handler.table.get("inherit_default_runtime"):
            for key in ("runtime_path", "runtime_type", "runtime_root", "runtime_config_path"):
                yield (*HANDLERS, name, key)


def _set_values(files: Mapping[str, object], place: KeyPath) -> dict[str, object]:
    """Return the settings of the files without the handlers' empty texts."""
    inside = place[: len(NAMED[0])] in NAMED
    return {
        key: _set_values(table(files, key), (*place, key)) if isinstance(value, Mapping) else value
        for key, value in files.items()
        if value != "" or not inside
    }
