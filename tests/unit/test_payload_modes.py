"""A payload as NVIDIA releases it: without the runtimes whose mode is fixed."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from testbed.payload_host import PayloadHost, snapshot
from testbed.sample_payload import RELEASED, make_sample_payload
from toolkit.errors import PayloadError
from toolkit.payload.installer import PayloadAction
from toolkit.payload.source import MODES
from toolkit.payload.wrappers import CONFIG_PATH, config_path

WHOLE = Path(__file__).parent.parent / "golden/payload/manifest.txt"


@pytest.fixture
def host(tmp_path: Path) -> PayloadHost:
    return PayloadHost(tmp_path)


@pytest.fixture
def released(tmp_path: Path) -> str:
    """The flag that names a payload of the released packages."""
    path = make_sample_payload(tmp_path / "released", packages=RELEASED)
    return f"--toolkit-source-root={path}"


def config_of(host: PayloadHost, mode: str = "") -> dict[str, Any]:
    return tomllib.loads((host.toolkit / config_path(mode)).read_text())


def edit(host: PayloadHost, before: str, after: str) -> None:
    config = host.toolkit / CONFIG_PATH
    assert before in config.read_text()
    config.write_text(config.read_text().replace(before, after))


def test_it_differs_from_a_whole_one_in_two_programs_and_two_configs(
    host: PayloadHost, released: str
) -> None:
    host.install(released)
    whole = {line.partition(" -> ")[0].split()[2] for line in WHOLE.read_text().splitlines()}
    found = snapshot(host.toolkit)
    assert whole - found.keys() == {f"{name}.real" for name in MODES}
    files = {name for name in found.keys() - whole if found[name][0] == "file"}
    assert files == {config_path(mode) for mode in MODES.values()}
    assert all(found[name][1] == 0o644 for name in files)


@pytest.mark.parametrize("mode", MODES.values())
def test_the_config_of_a_mode_has_all_of_the_main_one_s_and_its_mode(
    host: PayloadHost, released: str, mode: str
) -> None:
    host.install(released, "--nvidia-container-runtime.mode=csv", "--driver-root=/opt/driver")
    main = config_of(host)
    assert main["nvidia-container-runtime"]["mode"] == "csv"
    main["nvidia-container-runtime"]["mode"] = mode
    assert main == config_of(host, mode)
    first = (host.toolkit / config_path(mode)).read_text().splitlines()[0]
    assert f"/usr/local/nvidia/toolkit/{CONFIG_PATH}" in first


def test_plan_says_once_in_whose_place_the_main_runtime_runs(
    host: PayloadHost, released: str
) -> None:
    (note,) = host.plan(released).notes
    assert all(name in note for name in MODES)
    assert host.plan().notes == ()


def test_a_program_that_is_there_is_used(host: PayloadHost, released: str, tmp_path: Path) -> None:
    program = tmp_path / "released/usr/bin/nvidia-container-runtime.cdi"
    program.write_text("#!/bin/sh\n")
    host.install(released)
    assert (host.toolkit / "nvidia-container-runtime.cdi.real").exists()
    assert not (host.toolkit / config_path("cdi")).exists()
    assert (host.toolkit / config_path("legacy")).exists()


def test_an_edit_of_the_main_config_reaches_the_others_but_for_the_mode(
    host: PayloadHost, released: str
) -> None:
    host.install(released)
    assert host.plan(released).action is PayloadAction.UNCHANGED
    edit(host, 'mode = "auto"', 'mode = "csv"')
    edit(host, 'log-level = "info"', 'log-level = "debug"')
    assert host.plan(released).action is PayloadAction.REPLACE
    record = host.install(released)
    for mode in MODES.values():
        runtime = config_of(host, mode)["nvidia-container-runtime"]
        assert (runtime["log-level"], runtime["mode"]) == ("debug", mode)
    assert config_of(host)["nvidia-container-runtime"]["mode"] == "csv"
    assert host.plan(released).action is PayloadAction.UNCHANGED
    os.utime(host.toolkit / "nvidia-ctk.real")
    assert record.digest == host.installer(released).installed()
    assert host.plan(released).action is PayloadAction.UNCHANGED


@pytest.mark.parametrize("way", ["edited", "removed"])
def test_a_config_of_a_mode_is_put_right(host: PayloadHost, released: str, way: str) -> None:
    host.install(released)
    whole = snapshot(host.toolkit)
    path = host.toolkit / config_path("cdi")
    if way == "removed":
        path.unlink()
    else:
        path.write_text("[broken\n")
    host.install(released)
    assert whole == snapshot(host.toolkit)


def test_a_main_config_that_does_not_parse_is_named_and_kept(
    host: PayloadHost, released: str
) -> None:
    host.install(released)
    edit(host, 'mode = "auto"', "mode = auto")
    before = snapshot(host.tree)
    with pytest.raises(PayloadError, match=r"config\.toml was edited and does not parse"):
        host.install(released)
    assert before == snapshot(host.tree)


@pytest.mark.parametrize("linked", [False, True], ids=["exchanged", "file by file"])
def test_a_whole_payload_takes_its_place_and_goes_again(
    host: PayloadHost, released: str, *, linked: bool
) -> None:
    if linked:
        (host.tree / "data").mkdir()
        host.install_dir.mkdir(parents=True)
        host.toolkit.symlink_to("/data")
    host.install(released)
    before = snapshot(host.toolkit)
    host.install()
    assert not (host.toolkit / config_path("cdi")).exists()
    host.install(released)
    assert before == snapshot(host.toolkit)
