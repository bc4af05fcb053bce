"""What `doctor` looks at in the modes that touch less, and with each engine."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.fakes.crio_host import CrioHost
from tests.faults.node_host import FaultHost
from tests.unit.doctor_host import found, give_proc, node_of, only
from toolkit.node import Node
from toolkit.report.doctor import Verdict, examine

NRI = ("--enable-nri-plugin", "--nri-namespace=gpu", "--nri-socket=/run/nri.sock")
OF_THE_ENGINE = {"distribution", "config file", "CRI", "settings", "cgroup driver", "restart"}


@pytest.fixture
def host() -> Iterator[FaultHost]:
    """A socket's path has to be short."""
    with tempfile.TemporaryDirectory(prefix="doctor-") as directory:
        yield FaultHost(Path(directory))


@pytest.fixture
def crio() -> Iterator[CrioHost]:
    with tempfile.TemporaryDirectory(prefix="crio-") as directory:
        made = CrioHost(Path(directory))
        give_proc(made.directory / "proc", root=made.root)
        with made.running():
            yield made


def crio_node(crio: CrioHost, *more: str) -> Node:
    node = crio.node(*more)
    return replace(node, root=replace(node.root, proc=str(crio.directory / "proc")))


def test_in_nri_mode_the_plugin_socket_has_to_take_connections(host: FaultHost) -> None:
    node = node_of(host, *NRI)
    absent = only(node, "NRI")
    assert (absent.verdict, absent.message) == (
        Verdict.PROBLEM,
        "no NRI socket at /run/nri.sock",
    )
    assert "disable = false" in absent.fix
    (host.root / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(host.root / "run/nri.sock"))
        refused = only(node, "NRI")
        assert (refused.verdict, "refused" in refused.message) == (Verdict.PROBLEM, True)
        server.listen()
        assert only(node, "NRI").verdict is Verdict.OK


def test_in_nri_mode_the_engines_config_is_not_looked_at(host: FaultHost) -> None:
    findings = examine(node_of(host, *NRI))
    assert not {each.check for each in findings} & OF_THE_ENGINE
    paths = [each.message for each in findings if each.check == "path"]
    assert not [each for each in paths if "containerd" in each]
    assert [each for each in paths if each.startswith("NRI socket /run/nri.sock: ")]
    assert "CDI spec" in {each.check for each in findings}


def test_without_nri_mode_no_plugin_socket_is_looked_for(host: FaultHost) -> None:
    assert found(node_of(host), "NRI") == []


def test_with_restart_mode_none_an_engine_that_is_down_is_no_problem(host: FaultHost) -> None:
    node = node_of(host, "--restart-mode=none")
    assert found(node, "restart") == []
    host.engine.running, host.engine.effective = False, None
    findings = examine(node)
    assert Verdict.PROBLEM not in {each.verdict for each in findings}
    assert only(node, "engine").verdict is Verdict.WARNING
    host.engine.running, host.engine.problem = True, "bad handler"
    assert only(node, "CRI").verdict is Verdict.WARNING


def test_a_hook_needs_its_directory_and_no_restart(crio: CrioHost) -> None:
    crio.services.lacks = "is masked"
    node = crio_node(crio, "--config-mode=hook", "--hooks-dir=/usr/share/hooks.d")
    hooks = only(node, "hooks directory")
    assert (hooks.verdict, hooks.message.partition(" ")[0]) == (Verdict.OK, "/usr/share/hooks.d")
    assert found(node, "config file") == []
    assert found(node, "restart") == []


def test_a_config_needs_a_unit_that_starts_again(crio: CrioHost) -> None:
    node = crio_node(crio)
    assert only(node, "restart").message == "restart of its unit, crio.service"
    assert {each.check for each in examine(node)} >= {"config file"}
    crio.services.lacks = "is masked"
    refused = only(node, "restart")
    assert (refused.verdict, refused.message) == (Verdict.PROBLEM, "crio.service is masked")
