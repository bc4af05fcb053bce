"""A payload as NVIDIA releases it, under a daemon that stays."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

import pytest

from testbed.containerd import RELEASES, RealContainerd
from testbed.program import Installer
from testbed.sample_payload import RELEASED, make_sample_payload
from tests.engine.resident import installer_of, served, wait_idle, wait_said

pytestmark = pytest.mark.engine

REPAIRED = " repaired "
MODES = ("cdi", "legacy")


@pytest.fixture
def installer(containerd: RealContainerd) -> Iterator[Installer]:
    make_sample_payload(containerd.directory / "payload", packages=RELEASED)
    program = installer_of(containerd)
    assert not (program.source / "usr/bin/nvidia-container-runtime.cdi").exists()
    yield program
    program.end()


@pytest.mark.parametrize("containerd_release", [each for each in RELEASES if each.series == "1.7"])
def test_an_edit_of_the_toolkit_s_config_reaches_those_of_the_modes_without_a_reload(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    installer.start()
    wait_idle(installer)
    assert served(containerd, installer)
    pid = containerd.process.pid
    configs = installer.install_dir / "toolkit/.config"
    main = configs / "nvidia-container-runtime/config.toml"
    edited = main.read_text().replace('log-level = "info"', 'log-level = "debug" # for a while')
    main.write_text(edited)
    wait_said(installer, REPAIRED)
    wait_idle(installer)
    assert main.read_text() == edited
    for mode in MODES:
        text = (configs / mode / "nvidia-container-runtime/config.toml").read_text()
        runtime = tomllib.loads(text)["nvidia-container-runtime"]
        assert (runtime["log-level"], runtime["mode"]) == ("debug", mode)
    assert containerd.process.pid == pid
    assert installer.stop() == 0, installer.log()
    assert not (installer.install_dir / "toolkit").exists()
