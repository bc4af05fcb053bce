"""What a run loads is most of what it takes: each command loads what it uses, and no more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.packages import REPOSITORY
from testbed.sample_payload import make_sample_payload

PROGRAM = """
import sys
from toolkit.__main__ import main
code = main(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    file.write("\\n".join(sorted(sys.modules)))
sys.exit(code)
"""
HEAVY = frozenset(
    {
        "asyncio",
        "click",
        "concurrent.futures",
        "ctypes",
        "email",
        "google.protobuf",
        "grpc",
        "http.client",
        "inspect",
        "logging",
        "psutil",
        "shutil",
        "ssl",
        "subprocess",
        "tempfile",
        "traceback",
        "typing_extensions",
        "urllib.request",
    }
)
THREADS = frozenset({"concurrent.futures", "logging", "traceback"})
"""They wait for the disk."""
SETUP = frozenset(
    {
        "runtime_configs.containerd.copies",
        "runtime_configs.containerd.faults",
        "runtime_configs.containerd.comparison",
        "runtime_configs.formats.unified_diff",
        "toolkit.apply.check",
        "toolkit.apply.served",
        "toolkit.apply.transaction",
        "toolkit.dry_run",
        "toolkit.engine.reload",
        "toolkit.host.sandbox",
        "toolkit.payload.preflight",
    }
)
"""What carries a change out."""
REVERT = frozenset(
    {
        "runtime_configs.formats.hunks",
        "toolkit.daemon.stop_reason",
        "toolkit.journal.memory_copy",
        "toolkit.undo.aim",
        "toolkit.undo.engine",
        "toolkit.undo.files",
        "toolkit.undo.k3s_autodetect",
        "toolkit.undo.ownership",
        "toolkit.undo.revert",
        "toolkit.undo.rollback",
    }
)
PAYLOAD = frozenset(
    {
        "toolkit.payload.contents",
        "toolkit.payload.low_level",
        "toolkit.payload.parting",
        "toolkit.payload.preflight",
        "toolkit.payload.runtime_config",
    }
)
"""What lays out and compares a payload."""
OTHERS = frozenset(
    {
        "runtime_configs.containerd.template",
        "runtime_configs.containerd.template_conditions",
        "runtime_configs.crio.adapter",
        "runtime_configs.docker.adapter",
        "runtime_configs.formats.json_edit",
        "runtime_configs.formats.template_mask",
        "toolkit.report.doctor",
    }
)
"""Other engines, distributions and commands."""


class Host:
    """A containerd's config that nothing serves, and a payload."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "etc/config.toml"
        self.config.parent.mkdir()
        self.config.write_text("version = 2\n")
        self.payload = make_sample_payload(directory / "payload")

    def loaded(self, *arguments: str) -> frozenset[str]:
        """Run a command; return the names of the modules that it has loaded at its end."""
        found = self.directory / "loaded"
        found.unlink(missing_ok=True)
        variables = {
            "RUNTIME": "containerd",
            "RUNTIME_CONFIG": str(self.config),
            "RUNTIME_SOCKET": str(self.directory / "none.sock"),
            "RUNTIME_CONFIG_SOURCE": f"file={self.config}",
            "RUNTIME_RESTART_MODE": "none",
            "ROOT": str(self.directory / "nvidia"),
            "TOOLKIT_SOURCE_ROOT": str(self.payload),
            "TOOLKIT_PACKAGE_TYPE": "deb",
            "TOOLKIT_PID_FILE": str(self.directory / "run/toolkit.pid"),
            "HOST_ROOT_MOUNT": "/",
            "NO_DAEMON": "true",
        }
        subprocess.run(
            (sys.executable, "-c", PROGRAM, str(found), *arguments),
            env={"PATH": os.environ["PATH"], **variables},
            cwd=REPOSITORY,
            capture_output=True,
            check=False,
        )
        return frozenset(found.read_text().splitlines())


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def set_up(host: Host) -> Host:
    assert "toolkit.apply.transaction" in host.loaded()
    return host


def test_a_start_where_nothing_differs_loads_neither_the_setup_s_nor_the_revert_s_half(
    set_up: Host,
) -> None:
    assert set_up.loaded() & (HEAVY | SETUP | REVERT | OTHERS) == frozenset()


def test_a_first_setup_loads_no_engine_s_client_and_no_other_engine(host: Host) -> None:
    found = host.loaded()

    assert found & HEAVY <= {"ctypes", *THREADS}
    assert found & OTHERS == frozenset()


def test_status_loads_nothing_that_changes_a_host(set_up: Host) -> None:
    found = set_up.loaded("status")

    assert found & HEAVY == frozenset()
    assert found & (SETUP - {"toolkit.apply.served"} | REVERT | PAYLOAD | OTHERS) == frozenset()


def test_verify_loads_nothing_that_changes_a_host(set_up: Host) -> None:
    found = set_up.loaded("verify", "--color=always")

    assert found & HEAVY == frozenset()
    assert found & (SETUP - {"toolkit.apply.served"} | REVERT | PAYLOAD | OTHERS) == frozenset()


def test_a_revert_without_an_engine_loads_no_setup_and_no_client(set_up: Host) -> None:
    found = set_up.loaded("revert", "--purge")

    assert found & HEAVY <= {"ctypes"}
    assert found & (SETUP | OTHERS) == frozenset()
