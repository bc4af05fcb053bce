from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from runtime_configs.model import EffectiveConfig, ServedHandler
from tests.fakes.node import FakeTable, process
from tests.faults.node_host import FaultHost
from tests.unit.doctor_host import node_of
from toolkit.host.processes import ProcessFacts
from toolkit.report.doctor.context import Context, look
from toolkit.report.doctor.engine import cgroup_driver, same_cgroup_driver
from toolkit.report.doctor.findings import Verdict

CONFIG = "/var/lib/kubelet/config.yaml"


def containerd(options: object, default: str = "runc") -> EffectiveConfig:
    handler = ServedHandler(
        name="runc", binary_path=None, runtime_type=None, table={"options": options}
    )
    return EffectiveConfig(handlers={"runc": handler}, default=default, raw={})


@pytest.mark.parametrize(
    ("told", "options", "verdict"),
    [
        ("systemd", {"SystemdCgroup": True}, Verdict.OK),
        ("cgroupfs", {"SystemdCgroup": False}, Verdict.OK),
        ("cgroupfs", {}, Verdict.OK),
        ("cgroupfs", None, Verdict.OK),
        ("systemd", {}, Verdict.WARNING),
        ("cgroupfs", {"SystemdCgroup": True}, Verdict.WARNING),
    ],
)
def test_the_kubelets_cgroup_driver_has_to_be_the_handlers(
    told: str, options: object, verdict: Verdict
) -> None:
    (finding,) = same_cgroup_driver(told, containerd(options))
    assert finding.verdict is verdict
    assert told in finding.message
    assert bool(finding.fix) == (verdict is Verdict.WARNING)


def test_a_default_handler_that_is_not_there_is_another_checks_subject() -> None:
    assert not list(same_cgroup_driver("systemd", containerd({}, default="other")))


def context_of(host: FaultHost, *processes: ProcessFacts) -> Context:
    return replace(look(node_of(host)), processes=FakeTable(*processes))


@pytest.mark.parametrize(
    ("arguments", "config", "verdict", "message"),
    [
        (
            ("--cgroup-driver=cgroupfs",),
            None,
            Verdict.OK,
            "the kubelet and handler runc use cgroupfs",
        ),
        (
            ("--config", CONFIG),
            b"cgroupDriver: systemd\n",
            Verdict.WARNING,
            "the kubelet uses systemd",
        ),
        (("--config", CONFIG), None, Verdict.UNKNOWN, f"not looked at: {CONFIG}, which"),
        (("--config", CONFIG), b"\xff{", Verdict.UNKNOWN, "the kubelet has no setting"),
        ((), None, Verdict.UNKNOWN, "the kubelet has no setting"),
    ],
)
def test_doctor_names_the_cgroup_driver_of_the_kubelet_or_why_it_is_unknown(
    tmp_path: Path, arguments: tuple[str, ...], config: bytes | None, verdict: Verdict, message: str
) -> None:
    host = FaultHost(tmp_path)
    if config is not None:
        host.place(CONFIG, config)
    context = context_of(host, process(9, "/usr/bin/kubelet", "kubelet", *arguments))
    (finding,) = cgroup_driver(context)
    assert (finding.verdict, finding.message[: len(message)]) == (verdict, message)


def test_no_kubelet_is_no_finding_unless_none_could_be_seen(tmp_path: Path) -> None:
    host = FaultHost(tmp_path)
    assert list(cgroup_driver(context_of(host))) == []
    first = tmp_path / "proc/1/root"
    first.unlink()
    first.symlink_to(tmp_path)
    (finding,) = cgroup_driver(context_of(host))
    assert finding.message == "not looked at: a kubelet can't be seen from here"
