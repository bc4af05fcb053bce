"""`status` in odd states: it always ends with 0 and says what it could not look at."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from runtime_configs.model import Version
from tests.faults.node_host import CONFIG, DROP_IN, FaultHost
from toolkit.errors import EngineNotFoundError
from toolkit.report.status import ask, status_of

V2 = Version(major=2, minor=1)


def status(host_root: Path, install_dir: Path, **more: str) -> Mapping[str, object]:
    """Return the document of a run that has to end well."""
    command = (sys.executable, "-m", "toolkit", "status", "--output=json")
    variables = {
        "ROOT": str(install_dir),
        "HOST_ROOT_MOUNT": str(host_root),
        "RUNTIME": "containerd",
        "TOOLKIT_PID_FILE": str(install_dir / "run/toolkit.pid"),
        **more,
    }
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    document: Mapping[str, object] = json.loads(done.stdout)
    return document


@pytest.mark.parametrize("name", ["journal.json", "intent.json"])
@pytest.mark.parametrize("content", ["{", "[" * 100_000, '{"schema": {"major": 99}}'])
def test_a_journal_that_can_not_be_read_is_a_state_and_no_failure(
    tmp_path: Path, name: str, content: str
) -> None:
    journal = tmp_path / "nvidia/.toolkit-journal"
    journal.mkdir(parents=True)
    (journal / name).write_text(content)
    document = status(Path("/"), tmp_path / "nvidia")
    assert str(document["state"]).startswith(f"unknown: {journal / name}: ")
    assert document["ready"] is False
    assert document["mode"] == "engine config"


def test_a_host_root_that_is_not_there_is_a_state_and_no_failure(tmp_path: Path) -> None:
    document = status(tmp_path / "none", tmp_path / "nvidia")
    assert str(document["state"]).startswith(f"unknown: host root {tmp_path}/none is not a dir")


def test_a_ready_file_that_can_not_be_read_is_not_called_absent(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    document = status(Path("/"), tmp_path / "nvidia", TOOLKIT_READY_FILE=str(tmp_path / "loop"))
    assert document["state"] == "not set up"
    assert document["ready"] is None
    assert "ready file" in str(document["unknown"])


def test_what_can_not_be_looked_at_is_named_and_all_else_is_told(tmp_path: Path) -> None:
    host = FaultHost(tmp_path, version=V2)
    host.set_up()
    (host.root / DROP_IN[1:]).unlink()
    (host.root / DROP_IN[1:]).symlink_to(DROP_IN)

    def no_engine(*_: object) -> object:
        raise EngineNotFoundError("nobody there")

    node = replace(host.node(), control=no_engine)
    document = status_of(node)
    assert document["files"] == {CONFIG: "as we left it", DROP_IN: "unknown"}
    assert document["default"] == "nvidia"
    assert document["served"] == "nobody there"
    unknown = document["unknown"]
    assert isinstance(unknown, dict)
    assert set(unknown) == {DROP_IN}


def test_an_engine_that_is_down_is_told_of_in_its_place(tmp_path: Path) -> None:
    host = FaultHost(tmp_path, version=V2)
    host.set_up()
    host.engine.running, host.engine.effective = False, None
    document = status_of(host.node())
    assert "not running" in str(document["served"])
    assert "unknown" not in document


def test_verify_without_an_engines_config_looks_for_the_files_alone(tmp_path: Path) -> None:
    host = FaultHost(tmp_path)
    node = host.node(None, "--no-runtime-config")
    (missing,) = ask(node).missing
    assert missing.startswith("the toolkit's files are not in ")
    host.set_up(None, "--no-runtime-config")
    assert ask(node).missing == ()
    binary = next(Path(node.root.access(f"{node.store.install_dir}/toolkit")).glob("*.real"))
    binary.write_bytes(b"")
    assert ask(node).missing == (missing,)
