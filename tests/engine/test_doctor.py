"""`doctor` beside a real engine, from places that lack something."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import pytest

from testbed.containerd import RELEASES, RealContainerd, real_containerd
from testbed.dockerd import DOCKER_RELEASES, RealDockerd, real_dockerd
from testbed.program import Installer
from tests.engine.resident import installer_of

pytestmark = pytest.mark.engine
IN_MOUNT_NAMESPACE = ("unshare", "--mount", "--propagation=slave", "sh", "-ec")


@pytest.fixture(scope="module")
def containerd() -> Iterator[RealContainerd]:
    """Nothing of it is changed here."""
    with real_containerd(RELEASES[-1]) as engine:
        engine.start()
        yield engine


@pytest.fixture
def installer(containerd: RealContainerd) -> Installer:
    return installer_of(containerd, TOOLKIT_DEBUG="false")


def mounted(*commands: str) -> tuple[str, ...]:
    """Return what the program is started by where it shall see other mounts."""
    return (*IN_MOUNT_NAMESPACE, "; ".join((*commands, 'exec "$@"')), "sh")


def problems(installer: Installer, *prefix: str) -> dict[str, Mapping[str, str]]:
    """Return the problems by check; text and document say the same, by exit code 1."""
    installer.prefix = prefix
    document = installer.run("doctor", "--output=json")
    text = installer.run("doctor")
    assert "Traceback" not in document.stderr + text.stderr
    findings = json.loads(document.stdout)["findings"]
    assert [each["check"] for each in findings] == [
        line[9:].partition(":")[0] for line in text.stdout.splitlines()
    ]
    found = {each["check"]: each for each in findings if each["verdict"] == "problem"}
    assert document.returncode == text.returncode == (1 if found else 0), text.stdout
    # The payload's own messages end with the fix.
    assert all(each["fix"] or check == "payload" for check, each in found.items()), text.stdout
    return found


def test_nothing_is_in_the_way(installer: Installer) -> None:
    assert problems(installer) == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("ro", "is read-only"),
        ("noexec", "is mounted noexec"),
        ("nr_inodes=20", "inodes free, 128 are needed"),
        ("size=1m", "MiB free"),
    ],
)
def test_an_install_directory_that_takes_no_programs(
    installer: Installer, options: str, message: str
) -> None:
    installer.install_dir.mkdir(exist_ok=True)
    prefix = mounted(f"mount -t tmpfs -o {options} none {installer.install_dir}")
    found = problems(installer, *prefix)
    assert found["install directory"]["message"].startswith(f"{installer.install_dir} ")
    assert message in found["install directory"]["message"]
    assert "--toolkit-install-dir" in found["install directory"]["fix"]
    assert set(found) <= {"install directory", "payload"}


def test_a_config_directory_that_is_read_only(
    containerd: RealContainerd, installer: Installer
) -> None:
    etc = containerd.config.parent
    found = problems(
        installer, *mounted(f"mount --bind {etc} {etc}", f"mount -o remount,bind,ro {etc}")
    )
    assert found["config file"]["message"] == f"{etc} is read-only"
    assert "mount it writable" in found["config file"]["fix"]


def test_another_pid_namespace(installer: Installer) -> None:
    found = problems(installer, "unshare", "--pid", "--fork", "--mount-proc")
    assert "can't be seen from this PID namespace" in found["hostPID"]["message"]
    assert "hostPID: true" in found["hostPID"]["fix"]
    assert set(found) == {"hostPID", "engine"}


def test_no_right_to_trace_the_engine(installer: Installer) -> None:
    found = problems(installer, "setpriv", "--bounding-set=-sys_ptrace")
    assert found["privileges"]["message"].startswith("CAP_SYS_PTRACE is missing")
    assert "can't be inspected" in found["engine"]["message"]


def test_another_user(installer: Installer) -> None:
    found = problems(installer, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    assert found["privileges"]["message"] == "not root"


def test_a_config_that_no_plan_can_be_made_of(
    containerd: RealContainerd, installer: Installer
) -> None:
    broken = containerd.directory / "broken.toml"
    broken.write_text("version = 2\n[plugins\n")
    found = problems(installer, *mounted(f"mount --bind {broken} {containerd.config}"))
    assert str(containerd.config) in found["plan"]["message"]


def installer_of_docker(dockerd: RealDockerd) -> Installer:
    return Installer(dockerd.directory, dockerd.variables)


@pytest.mark.parametrize(
    ("arguments", "expected"), [((), set()), (("--default-runtime=runc",), {"plan"})]
)
def test_a_dockerd_without_a_unit_is_reloaded_live_unless_its_flags_contradict(
    arguments: tuple[str, ...], expected: set[str]
) -> None:
    with real_dockerd(DOCKER_RELEASES[-1]) as dockerd:
        dockerd.arguments = arguments
        dockerd.start()
        installer = installer_of_docker(dockerd)
        found = problems(installer)
        assert set(found) == expected
        assert all("--default-runtime" in each["message"] for each in found.values())
        assert "ok       restart: SIGHUP, a live reload\n" in installer.run("doctor").stdout
