"""What the running CRI-O has in force against what its files say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from runtime_configs.adapter import ConfigRequest
from runtime_configs.crio.load_order import RUNTIME
from runtime_configs.formats.comparison import unintended_changes
from runtime_configs.formats.documents import KeyPath
from runtime_configs.formats.values import table
from runtime_configs.model import EffectiveConfig

NAMED: tuple[KeyPath, ...] = ((*RUNTIME, "runtimes"), (*RUNTIME, "workloads"))
"""Tables with keys that somebody chose: one that is missing on either side is a difference."""


def pending(
    live: EffectiveConfig, files: EffectiveConfig, request: ConfigRequest
) -> tuple[str, ...]:
    """Name each setting of the files that is not in force, one line each.

    ``live`` is what the running CRI-O reports, every setting of it. ``files`` is what ``crio
    config`` prints: a setting with its default value only as a comment, and of a handler an empty
    text where CRI-O fills in a value at its start (``pkg/config/template.go``; tried with 1.36.3).
    So a setting that somebody removed from the files is not found.
    """
    ours = {each.name for each in request.desired.handlers}
    meant = [(*RUNTIME, "runtimes", name) for name in ours]
    if live.default in ours:
        meant += [(*RUNTIME, "default_runtime"), *following(live)]
    if not files.handlers or not live.handlers:
        meant += [(*RUNTIME, "runtimes")]
    said = _said(files.raw, ())
    return tuple(unintended_changes(_of_both(live.raw, said, ()), said, meant))


def following(before: EffectiveConfig) -> Iterator[KeyPath]:
    """Yield the keys of handlers that follow the default handler, whichever that is."""
    for name, handler in before.handlers.items():
        if handler.table.get("inherit_default_runtime"):
            for key in ("runtime_path", "runtime_type", "runtime_root", "runtime_config_path"):
                yield (*RUNTIME, "runtimes", name, key)


def _said(files: Mapping[str, object], place: KeyPath) -> dict[str, object]:
    """Return the settings of the files without the handlers' empty texts."""
    inside = place[: len(NAMED[0])] in NAMED
    return {
        key: _said(table(files, key), (*place, key)) if isinstance(value, Mapping) else value
        for key, value in files.items()
        if value != "" or not inside
    }


def _of_both(
    live: Mapping[str, object], files: Mapping[str, object], place: KeyPath
) -> dict[str, object]:
    """Return the settings in force that the files have too."""
    return {
        key: _of_both(value, table(files, key), (*place, key))
        if isinstance(value, Mapping) and key in files
        else value
        for key, value in live.items()
        if key in files or place in NAMED
    }
