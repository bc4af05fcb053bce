from __future__ import annotations

import re
from pathlib import Path

from tools.generate_protos import PROTOS, ROOT, generate

DESCRIPTOR = re.compile(r"AddSerializedFile\((b'.*')\)")


def descriptors(directory: Path) -> dict[str, list[str]]:
    return {
        path.name: DESCRIPTOR.findall(path.read_text())
        for folder in PROTOS
        for path in (directory / folder).glob("*_pb2.py")
    }


def test_the_generated_modules_are_those_of_the_declarations(tmp_path: Path) -> None:
    generate(tmp_path)
    committed = descriptors(ROOT)
    assert committed == descriptors(tmp_path)
    assert all(len(found) == 1 for found in committed.values())
    declared = {
        f"{path.stem}_pb2.py" for folder in PROTOS for path in (ROOT / folder).glob("*.proto")
    }
    assert declared == set(committed)
