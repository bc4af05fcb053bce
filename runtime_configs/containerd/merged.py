"""The CRI settings of all files together, as the engine merges them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from runtime_configs.containerd import keys
from runtime_configs.containerd.imports import LoadedFile
from runtime_configs.containerd.schema import (
    CRI_PLUGINS,
    NEWEST,
    PLUGIN_V1,
    PLUGIN_V2,
    PLUGIN_V3,
    Era,
    plugin,
)
from runtime_configs.formats import key_case
from runtime_configs.formats.values import deep_merge, table, tables_of


class Merged(Struct, frozen=True, kw_only=True):
    """The files' own settings, without the engine's defaults."""

    version: int
    """The version of the tables for 1.x and 2.0 to 2.2; for later engines the root's own."""
    cri: Mapping[str, object]
    as_spelled: Mapping[str, object]
    """The same with the keys as spelled in the files."""
    spelling: int
    """The version of a new file's key paths: 3 if those override version 2's."""
    owner: str | None
    """1.x: the one file whose CRI table is effective; None without one."""
    disabled: tuple[str, str] | None
    """An entry of ``disabled_plugins`` for the CRI plugin, and its file."""

    @property
    def containerd(self) -> Mapping[str, object]:
        """The table with the handlers and the default's name."""
        return table(self.cri, "containerd")

    @property
    def handlers(self) -> dict[str, Mapping[str, object]]:
        """Each handler's table by name."""
        return tables_of(self.containerd, ("runtimes",))

    @property
    def default(self) -> str | None:
        """The default handler's name, if a file names it."""
        value = self.containerd.get("default_runtime_name")
        return value if isinstance(value, str) and value else None


def merge(files: Sequence[LoadedFile], era: Era) -> Merged:
    """Return the settings that an engine of this era reads from its files, in load order."""
    if era is Era.REPLACES:
        return _replaced(files)
    if era is Era.MERGES:
        return _merged(files)
    found: dict[str, object] = {}
    for each in files:
        old = each.version <= NEWEST
        plugins = _renamed(each)
        deep_merge(found, _migrated(plugins) if old else table(plugins, PLUGIN_V3))
    version = files[0].version if files else NEWEST
    number = version or 1
    return Merged(
        version=number,
        cri=_read(found, era),
        as_spelled=found,
        spelling=number,
        owner=None,
        disabled=_disabled(files),
    )


def _replaced(files: Sequence[LoadedFile]) -> Merged:
    version = next((each.version for each in reversed(files) if each.version), 1)
    found: Mapping[str, object] = {}
    owner = None
    for each in files:
        section = each.plugins.get(plugin(version))
        if isinstance(section, Mapping):
            found, owner = section, each.path
    return Merged(
        version=version,
        cri=_read(found, Era.REPLACES),
        as_spelled=found,
        spelling=version,
        owner=owner,
        disabled=_disabled(files),
    )


def _merged(files: Sequence[LoadedFile]) -> Merged:
    version, plugins = NEWEST, dict[str, object]()
    for each in files:
        deep_merge(plugins, _renamed(each))
        version = each.version if each.version > 1 else version
    cri = _migrated(plugins) if version < NEWEST else table(plugins, PLUGIN_V3)
    newer, older = (
        table(_read(table(plugins, name), Era.MERGES), "containerd")
        for name in (PLUGIN_V3, PLUGIN_V2)
    )
    shadowed = "runtimes" in newer or ("default_runtime_name" in newer and "runtimes" not in older)
    return Merged(
        version=version,
        cri=_read(cri, Era.MERGES),
        as_spelled=cri,
        spelling=NEWEST if shadowed else version,
        owner=None,
        disabled=_disabled(files),
    )


def _read(section: Mapping[str, object], era: Era) -> dict[str, object]:
    return key_case.read(section, keys.CRI, keys.matching(era))


def _renamed(file: LoadedFile) -> dict[str, object]:
    """Return a file's plugin tables; those of version 1 get version 2's names."""
    section = dict(file.plugins)
    if file.version <= 1 and PLUGIN_V1 in section:
        section[PLUGIN_V2] = section.pop(PLUGIN_V1)
    return section


def _migrated(plugins: Mapping[str, object]) -> dict[str, object]:
    """Return the CRI table in version 3's spelling; keys that are so spelled in a file win.

    (``plugins/cri/runtime/plugin.go``, ``migrateConfig``: it fills in whole keys.)
    """
    found, old = table(plugins, PLUGIN_V3), table(plugins, PLUGIN_V2)
    both = {**old, **found}
    if "containerd" in both:
        containerd = dict(table(old, "containerd"))
        if isinstance(runtimes := containerd.get("runtimes"), Mapping):
            containerd["runtimes"] = {name: _sandboxed(each) for name, each in runtimes.items()}
        both["containerd"] = {**containerd, **table(found, "containerd")}
    return both


def _sandboxed(handler: object) -> object:
    """Return a handler's table with ``sandbox_mode`` under its name of version 3."""
    if not isinstance(handler, Mapping) or "sandbox_mode" not in handler:
        return handler
    rest = {key: value for key, value in handler.items() if key != "sandbox_mode"}
    return {"sandboxer": handler["sandbox_mode"], **rest}


def _disabled(files: Iterable[LoadedFile]) -> tuple[str, str] | None:
    for each in files:
        entry = disabled_entry(each.document)
        if entry is not None:
            return entry, each.path
    return None


def disabled_entry(document: Mapping[str, object]) -> str | None:
    """Return the entry of ``disabled_plugins`` for the CRI plugin, or None.

    The lists of all files are joined. Version 1 writes ``cri``; 2.0 and later know the plugin's
    parts by name, and none of them serves pods without the others.
    """
    entries = document.get("disabled_plugins")
    if not isinstance(entries, list):
        return None
    return next((str(each) for each in entries if each in CRI_PLUGINS), None)
