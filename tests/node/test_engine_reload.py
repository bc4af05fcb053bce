"""The engine's restart by its unit, from the place of the installer's container."""

from __future__ import annotations

import json

import pytest

from testbed.nspawn import Node
from testbed.packages import REPOSITORY
from testbed.probe import DowntimeProbe

pytestmark = pytest.mark.node

PROGRAM = """
import json, os, sys, time

import msgspec
from tests.engine.controls import engine_settings, host
from runtime_configs.model import EngineName
from runtime_configs.registry import adapter_for
from toolkit.engine.containerd.control import ContainerdControl
from toolkit.engine.facts import Expectation
from toolkit.host.clock import UninterruptedClock
from toolkit.settings import RestartMode

mode, rounds = RestartMode(sys.argv[1]), int(sys.argv[2])
settings = engine_settings("/etc/containerd/config.toml", "/run/containerd/containerd.sock")
engine = ContainerdControl(
    settings, host(os.environ["HOST_ROOT_MOUNT"]), adapter_for(EngineName.CONTAINERD).effective
)
reports = []
for _ in range(rounds):
    facts = engine.facts(time.monotonic() + 10)
    engine.preflight(facts.process, mode)
    report = engine.reload(facts.process, mode, UninterruptedClock(), time.monotonic() + 20)
    engine.verify(Expectation(default="runc"), UninterruptedClock(), time.monotonic() + 20)
    reports.append(msgspec.to_builtins(report) | {"unit": facts.process.unit})
print(json.dumps(reports))
"""


def reload_on(node: Node, mode: str, rounds: int = 1) -> list[dict[str, object]]:
    container = node.start_container(
        (str(REPOSITORY / ".venv/bin/python"), "-c", PROGRAM, mode, str(rounds)),
        {"PYTHONPATH": "."},
    )
    assert container.wait() == 0, container.stderr
    reports: list[dict[str, object]] = json.loads(container.stdout)
    return reports


@pytest.mark.parametrize("mode", ["auto", "systemd"])
def test_the_unit_is_started_at_once_and_restartsec_is_not_waited_for(
    node: Node, mode: str
) -> None:
    before = node.unit_pid()
    with DowntimeProbe(node.socket) as probe:
        (report,) = reload_on(node, mode)
    assert report["unit"] == "containerd.service"
    assert node.unit_pid() != before
    assert probe.longest() is not None
    assert node.automatic_restarts() == 0


def test_seven_rounds_at_once_stay_below_systemds_start_limit(node: Node) -> None:
    reports = reload_on(node, "auto", 7)
    assert len(reports) == 7
    assert node.run("systemctl", "is-active", "containerd").strip() == "active"
