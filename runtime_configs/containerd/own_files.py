"""Find a setup of ours, or of NVIDIA's installer, in files that no journal names."""

from __future__ import annotations

from runtime_configs.adapter import ConfigRequest, Placement
from runtime_configs.containerd import schema
from runtime_configs.containerd.drop_in import HEADER
from runtime_configs.containerd.imports import LoadedFile, declared_version, load_order
from runtime_configs.containerd.shim import is_nvidia
from runtime_configs.formats.our_handlers import HandlerPaths, edit_without_ours
from runtime_configs.formats.values import table
from runtime_configs.model import FileEdit, Format, HostView, OwnFile, Role

VERSIONS = (1, 2, 3)
"""Config versions with their own key paths; 4 has those of 3."""
PATHS: HandlerPaths = tuple((schema.runtimes(each), schema.default_name(each)) for each in VERSIONS)


def own_files(request: ConfigRequest, view: HostView) -> tuple[OwnFile, ...]:
    """Return the files with handlers of ours, and a drop-in that stops the engine from starting."""
    if request.placement is Placement.TEMPLATE:
        return ()
    files = {each.path: each for each in load_order(view, request.top_level, request.version)}
    if request.drop_in is not None:
        for each in load_order(view, request.drop_in, request.version):
            files.setdefault(each.path, each)
    found = []
    for path, file in files.items():
        before = view.read(path) or b""
        role = _role(path, request)
        edit = edit_without_ours(
            path,
            before,
            Format.TOML,
            role,
            paths=PATHS,
            is_ours=request.is_ours,
            stock=schema.RUNC if schema.era_of(request) is schema.Era.REPLACES else None,
        )
        if role is Role.DROP_IN and _outruns(file, files.get(request.top_level), request):
            edit = FileEdit(path=path, before=before, after=None, format=Format.TOML, role=role)
            found.append(OwnFile(edit=edit, certain=True))
        elif edit is not None:
            found.append(OwnFile(edit=edit, certain=before.startswith(HEADER)))
    return tuple(found)


def _role(path: str, request: ConfigRequest) -> Role:
    if path == request.top_level:
        return Role.TOP_LEVEL
    return Role.DROP_IN if path == request.drop_in else Role.IMPORTED


def _outruns(file: LoadedFile, root: LoadedFile | None, request: ConfigRequest) -> bool:
    """Return whether a drop-in has a higher version than its root, and only NVIDIA's handlers.

    NVIDIA's installer writes version 3 for any root, and a kill leaves the file behind. 2.3 does
    not start with it, 2.0 to 2.2 lose the root's image settings.
    """
    version = declared_version(file.document, file.path)
    if root is None or version <= max(root.version, 1):
        return False
    handlers = [handler for place, _ in PATHS for handler in table(file.document, *place).values()]
    return bool(handlers) and all(
        isinstance(each, dict) and is_nvidia(each, request) for each in handlers
    )
