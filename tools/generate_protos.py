"""Generate the message modules from their declarations: ``generate_protos.py [DIR]``.

Needs grpcio-tools and mypy-protobuf, which are in the extra ``dev``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROTOS = (Path("toolkit/engine/protos"), Path("toolkit/nri/protos"))


def generate(target: Path) -> None:
    """Write the ``*_pb2.py`` and their stubs below ``target``."""
    names = sorted(
        str(path.relative_to(ROOT)) for folder in PROTOS for path in (ROOT / folder).glob("*.proto")
    )
    plugin = Path(sys.executable).with_name("protoc-gen-mypy")
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={ROOT}"),
        *(f"--plugin=protoc-gen-mypy={plugin}", f"--mypy_out=quiet:{target}"),
        *(f"--python_out={target}", *names),
    ]
    subprocess.run(command, check=True, cwd=ROOT)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
