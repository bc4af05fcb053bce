"""`plan` on a host whose engine does not run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from testbed.sample_payload import make_sample_payload

BINARY = """#!/bin/sh
case "$*" in
    --version) echo containerd github.com/containerd/containerd 1.7.24 ;;
    "--config CONFIG config dump") echo 'version = 2'; echo 'bad news' >&2; exit STATUS ;;
    *dump) cat "$2" ;;
esac
"""
"""Prints what it is given, but for the engine's own file."""


@pytest.mark.parametrize(
    ("status", "source"),
    [
        (0, "command; live: the daemon could not be asked"),
        (3, "file; live: the daemon could not be asked; command: bad news"),
    ],
)
def test_it_is_told_where_version_and_config_were_read_and_why_not_elsewhere(
    tmp_path: Path, status: int, source: str
) -> None:
    make_sample_payload(tmp_path / "payload")
    binary, config = tmp_path / "containerd", tmp_path / "config.toml"
    binary.write_text(BINARY.replace("STATUS", str(status)).replace("CONFIG", str(config)))
    binary.chmod(0o755)
    config.write_text(
        'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]\n'
        'runtime_type = "io.containerd.runc.v2"\n'
    )
    variables = {
        "HOST_ROOT_MOUNT": "/",
        "ROOT": str(tmp_path / "nvidia"),
        "TOOLKIT_SOURCE_ROOT": str(tmp_path / "payload"),
        "TOOLKIT_PACKAGE_TYPE": "deb",
        "RUNTIME": "containerd",
        "RUNTIME_EXECUTABLE_PATH": str(binary),
        "CONTAINERD_CONFIG": str(config),
        "CONTAINERD_SOCKET": str(tmp_path / "none.sock"),
    }
    command = (sys.executable, "-m", "toolkit", "plan")
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if " ERROR " in line]
    assert len(errors) == 1, done.stderr
    assert f"containerd can't be reached at {tmp_path}/none.sock: " in errors[0]
    assert f"# engine: containerd 1.7.24 (by its binary) at {tmp_path}/none.sock" in done.stdout
    assert f"# config source: {source}\n" in done.stdout
