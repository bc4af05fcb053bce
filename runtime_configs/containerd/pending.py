"""Compare the running containerd's settings with those of its files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from runtime_configs.adapter import ConfigRequest
from runtime_configs.containerd import schema
from runtime_configs.containerd.faults import IMAGES
from runtime_configs.containerd.handlers import LEGACY_DEFAULT
from runtime_configs.containerd.shim import is_nvidia
from runtime_configs.formats.comparison import shown
from runtime_configs.formats.values import NEUTRAL, KeyPath, deep_merge, table
from runtime_configs.model import EffectiveConfig

NAMED = (
    ("containerd", "runtimes"),
    ("registry", "mirrors"),
    ("registry", "configs"),
    ("registry", "headers"),
)
"""Tables with user-chosen keys: a key missing on either side is a difference.

In other tables it is a setting that one report omits: CRI's status of 2.x has nothing about images
and the streaming server.
"""
DEFAULTS = ("defaultruntimename", "defaultruntime")


def pending(
    live: EffectiveConfig, files: EffectiveConfig, request: ConfigRequest
) -> tuple[str, ...]:
    """Describe each CRI setting of the files that is not in force, one line each.

    ``live`` is CRI's report, ``files`` a dump. Their keys differ only in case and underscores (the
    tags of ``PluginConfig`` and ``RuntimeConfig``; tried on 1.6, 1.7 and 2.1).
    """
    ours = {each.name for each in request.desired.handlers}
    ours |= {
        name for name, each in live.handlers.items() if is_nvidia(each.table, request.toolkit_dir)
    }
    return tuple(
        f"{'.'.join(path)}: {_shown(path, was)} is in force, the files say {_shown(path, now)}"
        for path, was, now in _differing(_cri(live.raw), _validated(_cri(files.raw)), ())
        if not _is_ours(path, was, ours, request)
    )


def _is_ours(path: KeyPath, was: object, ours: set[str], request: ConfigRequest) -> bool:
    """Return whether a difference is our own change, made or planned."""
    if path[:2] == NAMED[0] and len(path) > 2:  # noqa: PLR2004
        return path[2] in ours
    if path[0] == "containerd" and _plain(path[1]) in DEFAULTS:
        return was in ours
    return _plain(path[-1]) == "enablecdi" and bool(request.desired.enable_cdi)


def _cri(raw: Mapping[str, object]) -> Mapping[str, object]:
    """Return the settings of the CRI plugin; for a dump those of all its parts."""
    if "plugins" not in raw:
        return raw
    found: dict[str, object] = {}
    for name in (IMAGES, schema.PLUGIN_V1, schema.PLUGIN_V2, schema.PLUGIN_V3):
        deep_merge(found, table(raw, "plugins", name))
    return found


def _validated(files: Mapping[str, object]) -> Mapping[str, object]:
    """Return settings after the CRI plugin's validation, as it reports them."""
    containerd = dict(table(files, "containerd"))
    handlers = {
        name: dict(table(containerd, "runtimes", name)) for name in table(containerd, "runtimes")
    }
    legacy = table(containerd, "default_runtime")
    if legacy.get("runtime_type"):
        handlers[LEGACY_DEFAULT] = dict(legacy)
        containerd["default_runtime_name"] = LEGACY_DEFAULT
    for handler in handlers.values():
        for key in ("sandbox_mode", "sandboxer"):
            if handler.get(key) == "":
                handler[key] = "podsandbox"
    cni = dict(table(files, "cni"))
    if cni.get("bin_dir") and "bin_dirs" in cni:
        cni |= {"bin_dir": "", "bin_dirs": [cni["bin_dir"]]}
    # The validation moves the entries of auths, and a password must not be shown.
    registry = {key: value for key, value in table(files, "registry").items() if key != "auths"}
    return {
        **files,
        "containerd": {**containerd, "runtimes": handlers},
        "cni": cni,
        "registry": registry,
    }


def _differing(
    live: Mapping[str, object], files: Mapping[str, object], above: KeyPath
) -> Iterator[tuple[KeyPath, object, object]]:
    if above in NAMED:
        there, wanted = dict(live), dict(files)
        keys = list(dict.fromkeys([*wanted, *there]))
    else:
        there, wanted = ({_plain(k): v for k, v in each.items()} for each in (live, files))
        chosen = any(above[: len(each)] == each and len(above) > len(each) for each in NAMED)
        keys = [_plain(key) for key in files]
        keys = [*keys, *(set(there) - set(keys))] if chosen else [k for k in keys if k in there]
    names = {_plain(key): key for key in (*live, *files)}
    for key in keys:
        path = (*above, key if above in NAMED else names[key])
        was, now = there.get(key), wanted.get(key)
        if isinstance(was, Mapping) or isinstance(now, Mapping):
            inner = [each if isinstance(each, Mapping) else {} for each in (was, now)]
            yield from _differing(inner[0], inner[1], path)
        elif was != now and not (was in NEUTRAL and now in NEUTRAL):
            yield path, was, now


def _plain(key: str) -> str:
    return key.replace("_", "").lower()


def _shown(path: KeyPath, value: object) -> str:
    return "nothing" if value in NEUTRAL else shown(path, value)
