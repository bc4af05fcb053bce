"""The version stands in one place for each reader, and one command writes them all."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from toolkit.version import VERSION

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", ROOT / "tools/release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def copied(tool: ModuleType, root: Path) -> Path:
    for name in {*(place[0] for place in tool.PLACES), "CHANGELOG.md"}:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text((ROOT / name).read_text())
    return root


def test_a_release_writes_its_version_everywhere(tool: ModuleType, tmp_path: Path) -> None:
    root = copied(tool, tmp_path)
    tool.release(root, "7.8.9", "2027-01-02")
    for name, _, text in tool.PLACES:
        assert f"{text.format('7.8.9')}\n" in (root / name).read_text()
        assert f"{text.format(VERSION)}\n" in (ROOT / name).read_text()
    log = (root / "CHANGELOG.md").read_text()
    assert "\n## [Unreleased]\n\n## [7.8.9] - 2027-01-02\n\n" in log


@pytest.mark.parametrize("version", ["", "1.2", "v1.2.3", "1.2.3 "])
def test_what_is_no_version_is_refused(tool: ModuleType, tmp_path: Path, version: str) -> None:
    root = copied(tool, tmp_path)
    with pytest.raises(ValueError, match="is not a version"):
        tool.release(root, version, "2027-01-02")
    assert (root / "Dockerfile").read_text() == (ROOT / "Dockerfile").read_text()


def test_every_action_of_a_workflow_is_pinned_by_its_commit() -> None:
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        for action in re.findall(r"uses: (\S+)", path.read_text()):
            assert re.search(r"@[0-9a-f]{40}$", action), f"{path.name}: {action}"
