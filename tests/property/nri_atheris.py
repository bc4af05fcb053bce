"""Fuzz the NRI plugin's parsers by coverage, with ``pip install atheris``.

``python -m tests.property.nri_atheris CORPUS_DIRECTORY -max_total_time=3600``; further options are
those of libFuzzer.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["toolkit.nri"]):
        from tests.property.nri_fuzz import seeds
        from tests.property.nri_target import run_session

    corpus = Path(sys.argv[1])
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup(sys.argv, lambda data: run_session(data) and None)
    atheris.Fuzz()
