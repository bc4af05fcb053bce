"""With ``--cdi-only`` an engine gets CDI, where it has not got it by itself, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from testbed.containerd import RELEASES, RealContainerd
from testbed.dockerd import DOCKER_RELEASES, RealDockerd
from testbed.driver_root import DriverRoot
from testbed.program import HANDLERS, Installer, snapshot
from tests.engine.resident import installer_of, wait_idle

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

DEVICE = "management.nvidia.com/gpu=all"
CDI_ON = [each for each in RELEASES if each.series.startswith("2.")]
CDI_OFF = [each for each in RELEASES if each.series == "1.7"]
NO_CDI = [each for each in RELEASES if each.series == "1.6"]


@pytest.fixture
def installer(containerd: RealContainerd) -> Iterator[Installer]:
    driver = DriverRoot.made(containerd.directory)
    directory = containerd.directory / "cdi"
    plugin = "grpc.v1.cri" if containerd.release.series.startswith("1.") else "cri.v1.runtime"
    version = 2 if containerd.release.series.startswith("1.") else 3
    containerd.config.write_text(
        f"version = {version}\n[plugins.'io.containerd.{plugin}']\n"
        f'  cdi_spec_dirs = ["/etc/cdi", "{directory}"]\n'
    )
    variables = {"CDI_ONLY": "true", "CDI_OUTPUT_DIR": str(directory), **driver.variables()}
    program = installer_of(containerd, **variables)
    program.prefix = driver.prefix
    yield program
    program.end()


def served(containerd: RealContainerd) -> tuple[set[str], str, bool]:
    found = containerd.cri.served()
    return set(found.handlers) & set(HANDLERS), found.default, found.config["enableCDI"]


@pytest.mark.parametrize("containerd_release", CDI_ON)
def test_an_engine_that_has_cdi_on_is_left_as_it_is(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    containerd.import_image()
    before, pid = snapshot(containerd.config.parent), containerd.process.pid
    installer.start()
    wait_idle(installer)
    assert snapshot(containerd.config.parent) == before
    assert served(containerd) == (set(), "runc", True)
    look = ("/bin/ls", "/dev/nvidiactl")
    assert containerd.cri.run_to_end("runc", look, cdi_devices=(DEVICE,)) == "/dev/nvidiactl"
    verified = installer.run("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert installer.stop() == 0, installer.log()
    assert snapshot(containerd.config.parent) == before
    assert containerd.process.pid == pid, "nobody reloaded it"
    assert not (containerd.directory / "cdi").exists()


@pytest.mark.parametrize("containerd_release", CDI_OFF)
def test_an_engine_that_has_cdi_off_gets_that_one_key_and_gives_it_back(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    containerd.import_image()
    before = containerd.config.read_bytes()
    assert served(containerd) == (set(), "runc", False)
    assert "CDI is not enabled" in installer.run("verify").stdout
    installer.start()
    wait_idle(installer)
    after = containerd.config.read_bytes()
    assert b"enable_cdi = true" in after
    assert b"runtimes" not in after
    assert served(containerd) == (set(), "runc", True)
    look = ("/bin/ls", "/dev/nvidiactl")
    assert containerd.cri.run_to_end("runc", look, cdi_devices=(DEVICE,)) == "/dev/nvidiactl"
    pid = containerd.process.pid
    assert installer.run("verify").returncode == 0
    again = installer.run("plan", "--detailed-exitcode")
    assert again.returncode == 0, again.stdout
    assert containerd.process.pid == pid
    assert installer.stop() == 0, installer.log()
    containerd.wait_ready()
    assert containerd.config.read_bytes() == before
    assert served(containerd) == (set(), "runc", False)


@pytest.mark.parametrize("containerd_release", CDI_ON)
def test_cdi_that_a_file_switches_off_is_switched_on_by_a_drop_in(
    containerd: RealContainerd, installer: Installer
) -> None:
    with containerd.config.open("a") as config:
        config.write("  enable_cdi = false\n")
    before = snapshot(containerd.config.parent)
    containerd.start()
    installer.start()
    wait_idle(installer)
    assert served(containerd) == (set(), "runc", True)
    assert installer.stop() == 0, installer.log()
    containerd.wait_ready()
    assert snapshot(containerd.config.parent) == before
    assert served(containerd) == (set(), "runc", False)


@pytest.mark.parametrize("containerd_release", CDI_ON)
def test_an_engine_that_looks_elsewhere_for_specs_is_named_by_verify(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.config.write_text("version = 3\n")
    containerd.start()
    verified = installer.run("verify")
    assert verified.returncode == 1
    assert "CDI specs are read from /etc/cdi, /var/run/cdi, not from" in verified.stdout


@pytest.mark.parametrize("containerd_release", CDI_ON)
def test_a_node_with_handlers_loses_them_and_gets_them_again(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    before = containerd.config.read_bytes()
    assert installer.run("--no-daemon", "--cdi-only=false").returncode == 0
    containerd.wait_ready()
    assert served(containerd)[0] == set(HANDLERS)
    assert installer.run("--no-daemon").returncode == 0
    containerd.wait_ready()
    assert containerd.config.read_bytes() == before
    assert not list((containerd.config.parent / "conf.d").iterdir())
    assert served(containerd) == (set(), "runc", True)
    assert installer.run("--no-daemon", "--cdi-only=false").returncode == 0
    containerd.wait_ready()
    assert served(containerd)[:2] == (set(HANDLERS), "nvidia")
    assert installer.run("revert").returncode == 0
    assert not (containerd.config.parent / "conf.d").exists()


@pytest.mark.parametrize("containerd_release", NO_CDI)
def test_an_engine_without_cdi_is_refused_before_anything_is_written(
    containerd: RealContainerd, installer: Installer
) -> None:
    containerd.start()
    before = snapshot(containerd.directory / "etc", containerd.directory / "nvidia")
    refused = installer.run("--no-daemon")
    assert refused.returncode == 1
    assert "containerd 1.6 does not support CDI" in refused.stderr
    assert snapshot(containerd.directory / "etc", containerd.directory / "nvidia") == before


def docker_installer(dockerd: RealDockerd, *, mode: str) -> Installer:
    driver = DriverRoot.made(dockerd.directory)
    installer = Installer(
        dockerd.directory,
        {
            "RUNTIME": "docker",
            "DOCKER_CONFIG": str(dockerd.config),
            "DOCKER_SOCKET": str(dockerd.socket),
            "RUNTIME_RESTART_MODE": mode,
            "CDI_ONLY": "true",
            "CDI_OUTPUT_DIR": str(dockerd.directory / "cdi"),
            **driver.variables(),
        },
    )
    installer.prefix = driver.prefix
    return installer


@pytest.mark.parametrize(
    ("docker_release", "message"),
    [
        pytest.param(each, message, id=each.series)
        for each in DOCKER_RELEASES
        for series, message in (
            ("20.10", "dockerd 20.10 does not support CDI"),
            ("26", "dockerd switches CDI on only when it starts"),
            ("28", ""),
        )
        if each.series == series
    ],
)
def test_a_dockerd_is_never_restarted_unasked(dockerd: RealDockerd, message: str) -> None:
    dockerd.start()
    before, pid = dockerd.config.read_bytes(), dockerd.process.pid
    done = docker_installer(dockerd, mode="auto").run("--no-daemon")
    assert (done.returncode == 0) is not bool(message)
    assert message in done.stderr
    assert (dockerd.config.read_bytes(), dockerd.process.pid) == (before, pid)


@pytest.mark.parametrize(
    "docker_release", [each for each in DOCKER_RELEASES if each.series == "26"]
)
def test_the_feature_of_docker_26_counts_from_its_next_start(dockerd: RealDockerd) -> None:
    dockerd.start()
    installer = docker_installer(dockerd, mode="none")
    assert installer.run("--no-daemon").returncode == 0
    assert json.loads(dockerd.config.read_text()) == {"features": {"cdi": True}}
    assert installer.run("verify").returncode == 1
    assert installer.run("revert").returncode == 0
    assert json.loads(dockerd.config.read_text()) == {}
