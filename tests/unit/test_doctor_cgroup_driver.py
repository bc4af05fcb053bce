from __future__ import annotations

import pytest

from runtime_configs.model import EffectiveConfig, ServedHandler
from toolkit.doctor.engine import same_cgroup_driver
from toolkit.doctor.findings import Verdict


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
    assert bool(finding.mend) == (verdict is Verdict.WARNING)


def test_a_default_handler_that_is_not_there_is_another_checks_subject() -> None:
    assert not list(same_cgroup_driver("systemd", containerd({}, default="other")))
