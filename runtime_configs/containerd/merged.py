"""The CRI settings of all files together, as the engine merges them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from runtime_configs.adapter import ConfigRequest
from runtime_configs.containerd import keys, schema
from runtime_configs.containerd.imports import LoadedFile, every_file
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
from runtime_configs.formats.values import deep_merge, table, tables_of, text_at
from runtime_configs.model import HostView


class Merged(Struct, frozen=True, kw_only=True):
    """The files' own settings, without the engine's defaults."""

    files: tuple[LoadedFile, ...]
    era: Era
    version: int
    """The version of the tables for 1.x and 2.0 to 2.2; for later engines the root's own."""
    new_version: int
    """The version of a new file's key paths: 3 if those override version 2's."""
    cri: Mapping[str, object]
    as_spelled: Mapping[str, object]
    """The same with the keys as spelled in the files."""

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
        return text_at(self.containerd, "default_runtime_name") or None

    @property
    def legacy_default(self) -> Mapping[str, object]:
        """The ``default_runtime`` table if the engine uses it, else an empty one.

        1.x still reads it, and with a ``runtime_type`` it overrides the default's name
        (``pkg/cri/config/config.go``, ``ValidatePluginConfig``).
        """
        found = table(self.containerd, "default_runtime")
        return found if self.era is Era.REPLACES and found.get("runtime_type") else {}

    @property
    def edited_file(self) -> str | None:
        """The last file with the CRI table: for 1.x the only one that counts."""
        owners = [each.path for each in self.files if has_plugin(each, self.version)]
        return owners[-1] if owners else None

    @property
    def disabled(self) -> tuple[str, str] | None:
        """An entry of ``disabled_plugins`` for the CRI plugin, and its file."""
        entries = ((disabled_entry(each.document), each.path) for each in self.files)
        return next(((entry, path) for entry, path in entries if entry is not None), None)


def read_merged(request: ConfigRequest, view: HostView) -> Merged:
    """Return the settings that the engine of a request reads at present. Raises ConfigError.

    For an engine of unknown version they come from the files that it reports: 1.x lists them in its
    dump.
    """
    files = every_file(request, view)
    listed = None if request.effective is None else request.effective.raw.get("imports")
    if request.version is None and isinstance(listed, list) and request.top_level in listed:
        files = tuple(each for each in files if each.path in listed)
    return merge(files, schema.era_of(request))


def merge(files: Sequence[LoadedFile], era: Era) -> Merged:
    """Return the settings that an engine of this era reads from its files, in load order."""
    if era is Era.REPLACES:
        version, new_version, section = _replaced(files)
    elif era is Era.MERGES:
        version, new_version, section = _merged(files)
    else:
        version, new_version, section = _migrated_each(files)
    return Merged(
        files=tuple(files),
        era=era,
        version=version,
        new_version=new_version,
        cri=_read(section, era),
        as_spelled=section,
    )


def _replaced(files: Sequence[LoadedFile]) -> tuple[int, int, Mapping[str, object]]:
    version = next((each.version for each in reversed(files) if each.version), 1)
    owners = [each for each in files if has_plugin(each, version)]
    return version, version, table(owners[-1].plugins, plugin(version)) if owners else {}


def _merged(files: Sequence[LoadedFile]) -> tuple[int, int, Mapping[str, object]]:
    version, plugins = NEWEST, dict[str, object]()
    for each in files:
        deep_merge(plugins, _renamed(each))
        version = each.version if each.version > 1 else version
    newer, older = (
        table(_read(table(plugins, name), Era.MERGES), "containerd")
        for name in (PLUGIN_V3, PLUGIN_V2)
    )
    shadowed = "runtimes" in newer or ("default_runtime_name" in newer and "runtimes" not in older)
    section = _migrated(plugins) if version < NEWEST else table(plugins, PLUGIN_V3)
    return version, NEWEST if shadowed else version, section


def _migrated_each(files: Sequence[LoadedFile]) -> tuple[int, int, Mapping[str, object]]:
    section: dict[str, object] = {}
    for each in files:
        plugins = _renamed(each)
        old = each.version <= NEWEST
        deep_merge(section, _migrated(plugins) if old else table(plugins, PLUGIN_V3))
    version = (files[0].version or 1) if files else NEWEST
    return version, version, section


def has_plugin(file: LoadedFile, version: int) -> bool:
    """Return whether a file has the CRI table of a config version."""
    return isinstance(file.plugins.get(plugin(version)), Mapping)


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


def disabled_entry(document: Mapping[str, object]) -> str | None:
    """Return the entry of ``disabled_plugins`` for the CRI plugin, or None.

    The lists of all files are joined. Version 1 writes ``cri``; 2.0 and later know the plugin's
    parts by name, and none of them serves pods without the others.
    """
    entries = document.get("disabled_plugins")
    if not isinstance(entries, list):
        return None
    return next((str(each) for each in entries if each in CRI_PLUGINS), None)
