from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from runtime_configs.model import EngineName
from runtime_configs.registry import adapter_for
from tests.engine.controls import engine_settings, host
from tests.fakes.clock import TwoLooks
from tests.fakes.crio import FakeCrio
from tests.fakes.node import FakeCommands, FakeTable, FakeView, process
from toolkit.engine.cri.client import CriClient
from toolkit.engine.crio.control import CrioControl
from toolkit.engine.facts import Expectation, Holding, Source
from toolkit.engine.protos import cri_pb2
from toolkit.engine.reload import Method, method
from toolkit.engine.rpc import Connection, RpcError
from toolkit.errors import EngineNotFoundError, EngineRejectedError, EngineTimeoutError
from toolkit.host.clock import UninterruptedClock
from toolkit.settings import RestartMode

TOOLKIT = "/usr/local/nvidia/toolkit"
BINARY = f"{TOOLKIT}/nvidia-container-runtime"
CLOCK = UninterruptedClock()
BEFORE = """
[crio.runtime]
default_runtime = "crun"
[crio.runtime.runtimes.crun]
runtime_path = "/usr/bin/crun"
"""
AFTER = (
    BEFORE.replace('default_runtime = "crun"', 'default_runtime = "nvidia"')
    + f"""
[crio.runtime.runtimes.nvidia]
runtime_path = "{BINARY}"
"""
)


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="crio-") as directory:
        yield Path(directory) / "crio.sock"


def control(path: Path, root: str = "/") -> CrioControl:
    crio = process(
        os.getpid(),
        *("/usr/bin/crio", "/usr/bin/crio", "--config", "/etc/crio/crio.conf"),
        cgroup="0::/system.slice/crio.service\n",
    )
    node = replace(host(root), table=FakeTable(crio), view=FakeView())
    settings = engine_settings("/etc/crio/crio.conf", path)
    return CrioControl(settings, node, adapter_for(EngineName.CRIO).effective)


def soon(seconds: float = 10.0) -> float:
    return time.monotonic() + seconds


def test_the_facts_come_from_both_services_of_the_socket(path: Path) -> None:
    with FakeCrio(config=BEFORE).serving(path):
        facts = control(path).facts(soon())
    assert facts.unreachable is None
    assert facts.process is not None
    assert facts.process.unit == "crio.service"
    assert method(EngineName.CRIO, facts.process, RestartMode.AUTO) is Method.UNIT
    assert facts.version is not None
    assert facts.version.numbers == (1, 36, 3)
    assert facts.effective is not None
    assert facts.effective.default == "crun"
    assert facts.effective_source is Source.LIVE
    assert facts.top_level == "/etc/crio/crio.conf"


def test_what_is_run_to_look_at_an_engine_keeps_the_deadline_of_the_look(path: Path) -> None:
    commands = FakeCommands()
    settings = engine_settings("/etc/crio/crio.conf", path, executable="/bin/sh")
    decode = adapter_for(EngineName.CRIO).effective
    facts = CrioControl(settings, replace(host(), commands=commands), decode).facts(soon(5.0))
    assert facts.unreachable is not None
    assert [arguments[-1] for arguments in commands.ran] == ["--version", "config"]
    assert max(commands.limits) <= 5.0


def test_a_handler_counts_once_the_runtime_lists_it(path: Path) -> None:
    expected = Expectation(served=(("nvidia", BINARY),), default="nvidia")
    crio = FakeCrio(config=AFTER)
    with crio.serving(path):
        engine = control(path)
        with pytest.raises(EngineTimeoutError, match="not listed as served"):
            engine.verify(expected, TwoLooks(), soon(60.0))
        crio.handlers = ("", "crun", "nvidia")
        engine.verify(expected, CLOCK, soon())
        crio.ready = False
        with pytest.raises(EngineTimeoutError, match="not ready"):
            engine.verify(expected, TwoLooks(), soon(60.0))


@pytest.mark.parametrize(
    ("config", "pods", "holding"),
    [
        (AFTER, {}, Holding.FREE),
        (AFTER, {"a": "crun"}, Holding.FREE),
        (AFTER, {"a": "crun", "b": "nvidia"}, Holding.HELD),
        (AFTER, {"a": ""}, Holding.HELD),
        (BEFORE, {"a": ""}, Holding.FREE),
        (BEFORE, {"a": "nvidia"}, Holding.HELD),
        (BEFORE, {"a": "crun", "b": None}, Holding.FREE),
    ],
)
def test_a_pod_holds_the_payload_by_the_binary_of_its_handler(
    path: Path, config: str, pods: dict[str, str | None], holding: Holding
) -> None:
    with FakeCrio(config=config, pods=pods).serving(path):
        assert control(path).held(TOOLKIT).holding is holding


def test_a_pod_whose_handler_is_not_reported_is_an_error_that_names_it(path: Path) -> None:
    with (
        FakeCrio(config=BEFORE, pods={"a": "?"}).serving(path),
        pytest.raises(EngineRejectedError, match=r"which handler the pod .* has"),
    ):
        control(path).held(TOOLKIT)


def test_a_crio_that_is_gone_cannot_be_asked(path: Path) -> None:
    with pytest.raises(EngineNotFoundError, match=f"no crio answers on {path}: No such file"):
        control(path).held(TOOLKIT)


def test_the_deadline_is_for_all_that_is_asked_over_one_connection(path: Path) -> None:
    with FakeCrio(config=BEFORE).serving(path), Connection(str(path), soon(3.0)) as connection:
        client = CriClient(connection)
        assert client.version() == ("cri-o", "1.36.3")
        time.sleep(3.0)
        with pytest.raises(RpcError, match="Deadline Exceeded"):
            client.version()


def test_our_own_container_is_asked_for_only_inside_one(path: Path) -> None:
    crio = FakeCrio(config=BEFORE, containers={1: True, os.getpid(): True})
    with crio.serving(path):
        assert control(path).own_container_running(soon()) is None
        inside = control(path, root=str(path.parent))
        assert inside.own_container_running(soon()) is True
        del crio.containers[os.getpid()]
        assert inside.own_container_running(soon()) is None


def test_a_handlers_run_reports_the_runtime_of_the_monitor_and_leaves_nothing(path: Path) -> None:
    monitors = (
        process(7, "/usr/bin/conmon", "conmon", "-c", "other", "-r", "/usr/bin/crun"),
        process(8, "/usr/bin/conmon", "conmon", "-b", "/run/trial1", "-c", "trial1", "-r", BINARY),
        process(9, "/usr/bin/conmonrs", "conmonrs", "--runtime", BINARY, "--runtime-dir=/trial2"),
    )
    crio = FakeCrio(config=AFTER, handlers=("", "crun", "nvidia"), trials=["from a kill"])
    with crio.serving(path):
        engine = control(path)
        for each in monitors:
            engine._host.table.processes[each.pid] = each  # type: ignore[attr-defined]
        found = engine.run_handlers(("nvidia", "", "absent"), CLOCK, soon())
    assert [(each.handler, each.binary) for each in found] == [
        ("nvidia", BINARY),
        ("", BINARY),
        ("absent", None),
    ]
    assert "failed to find runtime handler" in found[2].failure
    assert crio.trials == []
    config = crio.asked[0].config
    assert config.linux.cgroup_parent == ""
    namespaces = config.linux.security_context.namespace_options
    assert (namespaces.network, namespaces.pid) == (cri_pb2.NODE, cri_pb2.POD)
    assert len({each.config.metadata.uid for each in crio.asked}) == 3


def test_a_handlers_run_whose_monitor_is_not_seen_reports_no_binary(path: Path) -> None:
    crio = FakeCrio(config=AFTER, handlers=("", "nvidia"))
    with crio.serving(path):
        (found,) = control(path).run_handlers(("nvidia",), CLOCK, soon())
    assert (found.binary, found.failure) == (None, "")
