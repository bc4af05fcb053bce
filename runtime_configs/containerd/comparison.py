"""containerd's settings compared: before and after our change, in force and in its files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from runtime_configs.adapter import ConfigRequest
from runtime_configs.containerd import schema
from runtime_configs.containerd.handlers import LEGACY_DEFAULT
from runtime_configs.containerd.shim import is_nvidia
from runtime_configs.formats.comparison import CHANGED, NOT_IN_FORCE, common, differing
from runtime_configs.formats.values import KeyPath, deep_merge, table, tables_of
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
DEFAULT_KEYS = ("default_runtime_name", "default_runtime")


def unintended(
    before: EffectiveConfig, after: EffectiveConfig, request: ConfigRequest
) -> tuple[str, ...]:
    """Describe each setting that differs unintentionally between two dumps, one line each."""
    if before.raw.get("version") != after.raw.get("version"):
        return tuple(_handler_lines(before, after, request))
    return differing(before.raw, after.raw, tuple(_meant(request)), CHANGED)


def _handler_lines(
    before: EffectiveConfig, after: EffectiveConfig, request: ConfigRequest
) -> Iterator[str]:
    """Compare dumps with other key paths by what both contain: other handlers, the default."""
    ours = {each.name for each in request.desired.handlers}
    for name, old in before.handlers.items():
        new = after.handlers.get(name)
        was = (old.binary_path, old.runtime_type)
        if name not in ours and (new is None or (new.binary_path, new.runtime_type) != was):
            now = "absent" if new is None else f"{new.runtime_type} with {new.binary_path}"
            yield f"handler {name}: {old.runtime_type} with {old.binary_path} became {now}"
    if request.desired.default is None and before.default != after.default:
        yield f"default handler: {before.default} became {after.default}"


def _meant(request: ConfigRequest) -> Iterator[KeyPath]:
    """Yield the key paths of a dump that a setup is supposed to change."""
    yield from (("imports",), ("version",))
    desired = request.desired
    moved = (LEGACY_DEFAULT,) if desired.default else ()
    for plugin in schema.CRI_PLUGINS:
        containerd = ("plugins", plugin, "containerd")
        for name in (*moved, *(each.name for each in desired.handlers)):
            yield (*containerd, "runtimes", name)
        if desired.default is not None:
            yield from ((*containerd, key) for key in DEFAULT_KEYS)
        if desired.enable_cdi:
            yield ("plugins", plugin, "enable_cdi")


def pending(
    live: EffectiveConfig, files: EffectiveConfig, request: ConfigRequest
) -> tuple[str, ...]:
    """Describe each CRI setting of the files that is not in force, one line each.

    ``live`` is CRI's report, ``files`` a dump. Their keys differ only in case and underscores (the
    tags of ``PluginConfig`` and ``RuntimeConfig``; tried on 1.6, 1.7 and 2.1).
    """
    ours = {each.name for each in request.desired.handlers}
    ours |= {name for name, each in live.handlers.items() if is_nvidia(each.table, request)}
    meant: list[KeyPath] = [(*NAMED[0], name) for name in ours]
    if live.default in ours:
        meant += [("containerd", key) for key in DEFAULT_KEYS]
    if request.desired.enable_cdi:
        meant.append(("enable_cdi",))
    wanted = _validated(_cri(files.raw))
    known = _respelled(_cri(live.raw), wanted, ())
    both = (common(known, wanted, _is_chosen), common(wanted, known, _is_chosen))
    return differing(*both, meant, NOT_IN_FORCE)


def _cri(raw: Mapping[str, object]) -> Mapping[str, object]:
    """Return the settings of the CRI plugin; for a dump those of all its parts."""
    if "plugins" not in raw:
        return raw
    found: dict[str, object] = {}
    for name in (schema.IMAGES, schema.PLUGIN_V1, schema.PLUGIN_V2, schema.PLUGIN_V3):
        deep_merge(found, table(raw, "plugins", name))
    return found


def _validated(files: Mapping[str, object]) -> Mapping[str, object]:
    """Return settings after the CRI plugin's validation, as it reports them."""
    containerd = dict(table(files, "containerd"))
    handlers = {name: dict(each) for name, each in tables_of(containerd, ("runtimes",)).items()}
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


def _respelled(
    live: Mapping[str, object], files: Mapping[str, object], above: KeyPath
) -> dict[str, object]:
    """Return the settings in force with each key as the files spell it."""
    spelled = {} if above in NAMED else {_plain(key): key for key in files}
    found: dict[str, object] = {}
    for key, value in live.items():
        name = spelled.get(_plain(key), key)
        if isinstance(value, Mapping):
            found[name] = _respelled(value, table(files, name), (*above, name))
        else:
            found[name] = value
    return found


def _is_chosen(place: KeyPath) -> bool:
    return any(place[: len(each)] == each for each in NAMED)


def _plain(key: str) -> str:
    return key.replace("_", "").lower()
