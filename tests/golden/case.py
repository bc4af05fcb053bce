"""A golden case: what was asked for, and the host's files before, after, edited and reverted."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime_configs.adapter import ConfigRequest, EngineAdapter, Placement
from runtime_configs.model import (
    DesiredHandlers,
    EditSet,
    EngineName,
    HostView,
    RuntimeHandler,
    Version,
)
from runtime_configs.registry import adapter_for
from tests.fakes.host_tree import HostTree

ROOT = Path(__file__).parent
TOOLKIT = "/usr/local/nvidia/toolkit"
Tree = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Expected:
    """What a case says of the result besides its trees."""

    error: str | None
    notes: tuple[str, ...]
    hint: str | None


@dataclass(frozen=True, slots=True)
class GoldenCase:
    """One folder with a ``case.toml``."""

    folder: Path
    adapter: EngineAdapter
    request: ConfigRequest
    expected: Expected

    def tree(self, name: str) -> Tree:
        """Read a host tree; a folder that is not there is an empty host."""
        root = self.folder / name
        return {
            "/" + path.relative_to(root).as_posix(): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    def write(self, name: str, tree: Mapping[str, bytes]) -> None:
        """Replace a host tree."""
        root = self.folder / name
        shutil.rmtree(root, ignore_errors=True)
        for path, content in tree.items():
            target = root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)

    def has(self, name: str) -> bool:
        return (self.folder / name).is_dir()

    def edits(self, tree: Tree) -> EditSet:
        view: HostView = HostTree(tree)
        return self.adapter.edits(self.request, view)

    def reverted(self, now: Tree, edits: EditSet) -> Tree:
        """Return the tree without our changes."""
        result = dict(now)
        for edit in edits.edits:
            content = self.adapter.strip_our_changes(edit, now.get(edit.path))
            if content is None:
                result.pop(edit.path, None)
            else:
                result[edit.path] = content
        return result


def applied(tree: Tree, edits: EditSet) -> Tree:
    """Return the tree with the edits made."""
    result = dict(tree)
    for edit in edits.edits:
        assert edit.before == tree.get(edit.path)
        if edit.after is None:
            result.pop(edit.path, None)
        else:
            result[edit.path] = edit.after
    return result


def cases() -> list[Path]:
    return sorted(path.parent for path in ROOT.glob("*/*/case.toml"))


def load_case(folder: Path) -> GoldenCase:
    """Read ``case.toml``; an unknown key is an error, so that a typo can't pass for a test."""
    try:
        return _read(folder)
    except (KeyError, TypeError, ValueError) as error:
        page = "tests/golden/README.md lists its keys"
        raise ValueError(f"{folder}/case.toml: {type(error).__name__}: {error}; {page}") from error


def _read(folder: Path) -> GoldenCase:
    data = tomllib.loads((folder / "case.toml").read_text())
    adapter = adapter_for(EngineName(data.pop("engine")))
    expected = Expected(
        error=data.pop("error", None),
        notes=tuple(data.pop("notes", ())),
        hint=data.pop("hint", None),
    )
    desired = _desired(data.pop("desired", {}), data.get("toolkit_dir", TOOLKIT))
    dump = data.pop("dump", None)
    fields: dict[str, object] = {
        "desired": desired,
        "drop_in": data.pop("drop_in", None),
        "top_level": data.pop("top_level"),
        "placement": Placement(data.pop("placement", "plain")),
        "version": _version(data.pop("version", None)),
        "effective": adapter.effective((folder / dump).read_bytes()) if dump else None,
        "engine_arguments": tuple(data.pop("engine_arguments", ())),
    }
    request = ConfigRequest(**{**data, **fields})
    return GoldenCase(folder, adapter, request, expected)


def _desired(data: dict[str, object], toolkit: object) -> DesiredHandlers:
    name = str(data.pop("runtime_name", "nvidia"))
    binary = f"{toolkit}/nvidia-container-runtime"
    handlers = (
        RuntimeHandler(name=name, binary_path=binary),
        RuntimeHandler(name="nvidia-cdi", binary_path=f"{binary}.cdi"),
        RuntimeHandler(name="nvidia-legacy", binary_path=f"{binary}.legacy"),
    )
    default = data.pop("set_as_default", True)
    if "container_annotations" in data:
        data["container_annotations"] = tuple(map(str, _list(data["container_annotations"])))
    return DesiredHandlers(handlers=handlers, default=name if default else None, **data)  # type: ignore[arg-type]


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value


def _version(text: str | None) -> Version | None:
    if text is None:
        return None
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", text)
    assert match is not None, text
    major, minor, patch = (int(part or 0) for part in match.groups())
    return Version(major=major, minor=minor, patch=patch, text=text)
