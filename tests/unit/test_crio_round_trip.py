"""Setup and revert of the whole program against a CRI-O that is made of answers."""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.program import HANDLERS, snapshot
from tests.fakes.crio_host import DROP_INS, CrioHost
from toolkit.apply.begin import Outcome
from toolkit.apply.setup import set_up
from toolkit.errors import (
    EngineConfigError,
    EngineNotFoundError,
    EngineRejectedError,
    NotRestoredError,
)
from toolkit.host.clock import UninterruptedClock
from toolkit.node import Node
from toolkit.undo.engine import GoBackReport
from toolkit.undo.recovery import recover
from toolkit.undo.revert import revert_record

TOOLKIT = "/usr/local/nvidia/toolkit"
DROP_IN = f"{DROP_INS}/99-nvidia.toml"
HOOK = "/usr/share/containers/oci/hooks.d/oci-nvidia-hook.json"
PACKAGED = b"""\
# from the package
[crio.runtime]
default_runtime = "runc"
pids_limit = 4096

[crio.runtime.runtimes.runc]
runtime_path = "/usr/bin/crun"
runtime_root = "/run/runc"
monitor_path = "/usr/bin/conmon"
seccomp_profile = "/etc/crio/seccomp.json"
"""
RESTARTED = ["reset-failed crio.service", "restart crio.service"]


@pytest.fixture
def host() -> Iterator[CrioHost]:
    """A node with CRI-O as its package configures it; a socket's path has to be short."""
    with tempfile.TemporaryDirectory(prefix="crio-") as directory:
        made = CrioHost(Path(directory))
        made.place(f"{DROP_INS}/10-crio.conf", PACKAGED, 0o640)
        with made.running():
            yield made


def started(node: Node) -> Outcome:
    recover(node)
    return set_up(node, UninterruptedClock(), patience=10.0)


def reverted(node: Node) -> GoBackReport:
    record = recover(node)
    assert record is not None
    return revert_record(node, record)


def served(host: CrioHost) -> dict[str, object]:
    runtime = tomllib.loads(host.crio.config)["crio"]["runtime"]
    return {
        "default": runtime["default_runtime"],
        **{name: table["runtime_path"] for name, table in runtime["runtimes"].items()},
    }


def files(host: CrioHost) -> dict[str, tuple[object, ...]]:
    return snapshot(host.root, besides=(host.root / "var/run",))


def test_the_handlers_are_served_after_a_restart_and_all_are_gone_after_the_revert(
    host: CrioHost,
) -> None:
    before, served_before = files(host), served(host)
    outcome = started(host.node())
    assert host.services.acts == RESTARTED
    assert outcome.reload is not None
    assert served(host) == {
        **served_before,
        "default": "nvidia",
        **{name: f"{TOOLKIT}/{binary}" for name, binary in HANDLERS.items()},
    }
    assert set(host.crio.handlers) == {"", "crun", "runc", *HANDLERS}
    ours = tomllib.loads(host.crio.config)["crio"]["runtime"]["runtimes"]["nvidia"]
    assert ours["runtime_root"] == "/run/runc"
    assert ours["seccomp_profile"] == "/etc/crio/seccomp.json"

    report = reverted(host.node())
    assert report.payload == "removed"
    assert report.reloaded
    assert host.services.acts == 2 * RESTARTED
    assert served(host) == served_before
    assert files(host) == before


def test_a_second_start_neither_writes_nor_restarts(host: CrioHost) -> None:
    started(host.node())
    before = files(host)
    outcome = started(host.node())
    assert outcome.reload is None
    assert host.services.acts == RESTARTED
    assert files(host) == before


def test_the_default_stays_where_it_is_not_asked_for(host: CrioHost) -> None:
    started(host.node("--set-as-default=false", "--runtime-name=gpu"))
    assert served(host)["default"] == "runc"
    assert served(host)["gpu"] == f"{TOOLKIT}/nvidia-container-runtime"
    reverted(host.node())
    assert "gpu" not in served(host)


def test_the_hook_comes_and_goes_without_a_restart(host: CrioHost) -> None:
    before = files(host)
    started(host.node(CRIO_CONFIG_MODE="hook"))
    assert host.services.acts == []
    assert f"{TOOLKIT}/nvidia-container-runtime-hook".encode() in (
        (host.root / HOOK[1:]).read_bytes()
    )
    assert not (host.root / DROP_IN[1:]).exists()
    reverted(host.node(CRIO_CONFIG_MODE="hook"))
    assert host.services.acts == []
    assert files(host) == before


def test_a_payload_stays_with_each_reason_why_nobody_knows_who_needs_it(host: CrioHost) -> None:
    started(host.node(CRIO_CONFIG_MODE="hook"))
    host.crio.config, host.refuses = "[", "crun"
    report = reverted(host.node(CRIO_CONFIG_MODE="hook"))
    assert report.payload == "kept"
    (warning,) = report.warnings
    assert "command: crun is not for this one; file: /etc/crio/crio.conf is not there" in warning


def test_a_change_from_handlers_to_the_hook_takes_the_handlers_back(host: CrioHost) -> None:
    before, served_before = files(host), served(host)
    started(host.node())
    started(host.node(CRIO_CONFIG_MODE="hook"))
    assert served(host) == served_before
    assert (host.root / HOOK[1:]).exists()
    reverted(host.node(CRIO_CONFIG_MODE="hook"))
    assert files(host) == before


def test_the_payload_stays_for_a_pod_whose_handler_is_ours(host: CrioHost) -> None:
    started(host.node())
    host.crio.pods = {"gpu": "nvidia", "other": "runc", "plain": ""}
    report = reverted(host.node())
    assert report.payload == "kept"
    assert len(report.kept_for) == 1
    assert "default/gpu" in report.kept_for[0]
    assert "can't stop them until their handlers are restored" in report.warnings[0]
    assert "nvidia" not in served(host)
    host.crio.pods = {"other": "runc"}
    assert reverted(host.node()).payload == "removed"


def test_a_site_that_a_later_file_would_overrule_is_refused_before_anything_is_written(
    host: CrioHost,
) -> None:
    host.place(f"{DROP_INS}/zz.conf", b'[crio.runtime]\ndefault_runtime = "crun"\n')
    before = files(host)
    with pytest.raises(EngineConfigError, match=r"zz\.conf: it is read after"):
        started(host.node())
    assert files(host) == before
    assert host.services.acts == []


def test_a_crio_that_does_not_come_back_leaves_the_files_as_they_were(host: CrioHost) -> None:
    before = files(host)
    host.comes_back = False
    with pytest.raises(NotRestoredError):
        started(host.node())
    left = files(host)
    assert not (host.root / DROP_IN[1:]).exists()
    assert {path: left.get(path) for path in before if "crio.conf" in path} == {
        path: entry for path, entry in before.items() if "crio.conf" in path
    }


def test_a_config_that_crio_itself_refuses_is_never_written(host: CrioHost) -> None:
    before = files(host)
    host.refuses = "nvidia-cdi"
    with pytest.raises(EngineRejectedError, match="nvidia-cdi is not for this one"):
        started(host.node())
    assert files(host) == before
    assert host.services.acts == []


def test_files_that_crio_could_not_start_with_any_more_stop_the_set_up(host: CrioHost) -> None:
    host.place(f"{DROP_INS}/20-site", b'[crio.runtime]\ndefault_runtime = "gone"\n')
    before = files(host)
    with pytest.raises(EngineRejectedError, match='default_runtime set to "gone"'):
        started(host.node("--set-as-default=false"))
    assert files(host) == before
    assert host.services.acts == []


def test_a_restart_by_signal_is_refused_since_crio_would_only_list_the_handlers(
    host: CrioHost,
) -> None:
    before = files(host)
    with pytest.raises(EngineNotFoundError, match="only lists it") as refused:
        started(host.node("--restart-mode=signal"))
    assert "--restart-mode=systemd" in refused.value.hint
    assert files(host) == before


def test_a_unit_that_would_not_start_again_is_found_before_anything_is_written(
    host: CrioHost,
) -> None:
    before = files(host)
    host.services.lacks = "is masked"
    with pytest.raises(EngineNotFoundError, match=r"crio\.service is masked"):
        started(host.node())
    assert files(host) == before
    assert host.services.acts == []


def test_the_drop_in_goes_where_the_running_crio_reads_its_drop_ins() -> None:
    with tempfile.TemporaryDirectory(prefix="crio-") as directory:
        made = CrioHost(
            Path(directory), arguments=("/usr/bin/crio", "--config-dir", "/etc/site/crio.d")
        )
        made.place("/etc/site/crio.d/10-site.conf", PACKAGED)
        with made.running():
            before = files(made)
            started(made.node())
            assert (made.root / "etc/site/crio.d/99-nvidia.toml").exists()
            assert served(made)["default"] == "nvidia"
            reverted(made.node())
            assert files(made) == before
