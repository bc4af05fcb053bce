"""`status` in odd states."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_a_journal_that_can_not_be_read_is_a_state_and_no_failure(tmp_path: Path) -> None:
    journal = tmp_path / "nvidia/.toolkit-journal"
    journal.mkdir(parents=True)
    (journal / "journal.json").write_text("{")
    command = (sys.executable, "-m", "toolkit", "status", "--output=json")
    variables = {"ROOT": str(tmp_path / "nvidia"), "HOST_ROOT_MOUNT": "/", "RUNTIME": "containerd"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["state"].startswith("unknown: ")
    assert str(journal / "journal.json") in done.stdout
