"""`doctor` compares CDI specs, whoever wrote them, with what is on the node."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.node_host import FaultHost
from tests.unit.doctor_host import found, node_of, only
from toolkit.node import Node
from toolkit.report.doctor import Verdict

SPEC = """\
cdiVersion: 0.5.0
kind: {kind}
devices:
- name: {name}
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
containerEdits:
  mounts:
  - hostPath: {library}
    containerPath: /usr/lib64/libcuda.so.1
"""
LIBRARY = "/usr/lib64/libcuda.so.535"


@pytest.fixture
def host(tmp_path: Path) -> FaultHost:
    made = FaultHost(tmp_path)
    for path in ("dev/nvidia0", LIBRARY[1:]):
        (made.root / path).parent.mkdir(parents=True, exist_ok=True)
        (made.root / path).touch()
    return made


@pytest.fixture
def node(host: FaultHost) -> Node:
    return node_of(host)


def write(
    host: FaultHost,
    path: str,
    *,
    kind: str = "nvidia.com/gpu",
    name: str = "all",
    library: str = LIBRARY,
) -> None:
    place = host.root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(SPEC.format(kind=kind, name=name, library=library))


def test_without_specs_there_is_nothing_to_say(node: Node) -> None:
    assert found(node, "CDI") == []


def test_a_spec_whose_files_are_there_is_right(host: FaultHost, node: Node) -> None:
    write(host, "etc/cdi/nvidia.yaml")
    finding = only(node, "CDI")
    assert finding.verdict is Verdict.OK
    assert finding.message.startswith("/etc/cdi/nvidia.yaml: all 2 ")


@pytest.mark.parametrize("directory", ["etc/cdi", "var/run/cdi"])
def test_a_spec_of_a_driver_that_is_gone_is_a_warning_with_the_missing_file(
    host: FaultHost, node: Node, directory: str
) -> None:
    write(host, f"{directory}/vendor.yaml", library="/usr/lib64/libcuda.so.470")
    finding = only(node, "CDI")
    assert finding.verdict is Verdict.WARNING
    assert finding.message.startswith(
        f"/{directory}/vendor.yaml names /usr/lib64/libcuda.so.470, not on this node"
    )
    (host.root / "dev/nvidia0").unlink()
    assert "/dev/nvidia0 and 1 more" in only(node, "CDI").message.replace(
        "/usr/lib64/libcuda.so.470", "/dev/nvidia0"
    )


def test_our_own_spec_is_made_again_by_the_installer(host: FaultHost) -> None:
    write(host, "opt/cdi/example.com-x.yaml", kind="example.com/x", library="/gone")
    node = node_of(host, "--cdi-enabled", "--cdi-output-dir=/opt/cdi", "--cdi-kind=example.com/x")
    finding = only(node, "CDI")
    assert "names /gone, not on this node" in finding.message
    assert "start the installer" in finding.fix


def test_two_specs_of_one_device_are_named(host: FaultHost, node: Node) -> None:
    write(host, "etc/cdi/a.yaml")
    write(host, "var/run/cdi/b.yaml")
    write(host, "var/run/cdi/c.yaml", name="0")
    (finding,) = [each for each in found(node, "CDI") if each.verdict is not Verdict.OK]
    assert finding.message == (
        "/etc/cdi/a.yaml and /var/run/cdi/b.yaml both have nvidia.com/gpu=all: "
        "engines take that of /var/run/cdi/b.yaml"
    )
    write(host, "var/run/cdi/c.yaml")
    assert "engines give out neither" in found(node, "CDI")[-1].message


def test_a_spec_that_cant_be_read_is_no_more_than_unknown(host: FaultHost, node: Node) -> None:
    write(host, "etc/cdi/a.yaml")
    (host.root / "etc/cdi/a.yaml").write_text("{")
    finding = only(node, "CDI")
    assert finding.verdict is Verdict.UNKNOWN
    assert finding.message.startswith("/etc/cdi/a.yaml can't be read: ")
