"""k3s finds the payload by itself at each start: set up, reverted, upgraded, failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime_configs.model import Version
from tests.fakes.k3s import AGENT, CONFIG, OPTIONS, FakeK3s
from tests.faults.node_host import FaultHost, difference
from toolkit.engine.facts import Holding, HoldReport
from toolkit.errors import ToolkitError
from toolkit.host.paths import HostRoot
from toolkit.host.view import HostFilesView

OURS = {"nvidia", "nvidia-cdi", "nvidia-legacy"}
HELD = HoldReport(holding=Holding.HELD, containers=("pod",))


TEMPLATED, IMPORTING = Version(major=1, minor=7, patch=23), Version(major=2, minor=1)
EACH = pytest.mark.parametrize("release", [TEMPLATED, IMPORTING], ids=["template", "drop-in"])


def k3s_host(
    directory: Path, *arguments: str, release: Version = TEMPLATED
) -> tuple[FaultHost, FakeK3s]:
    """Return a host whose engine is k3s's."""
    host = FaultHost(directory, version=release, config=None, arguments=arguments)
    (host.root / AGENT[1:]).mkdir(parents=True)
    engine = FakeK3s(
        view=HostFilesView(HostRoot(root=str(host.root))),
        version=release,
        root=host.root,
        top_level=CONFIG,
        socket="/run/k3s/containerd/containerd.sock",
    )
    host.engine = engine
    engine.boot()
    return host, engine


def served(engine: FakeK3s) -> set[str]:
    assert engine.effective is not None, engine.problem
    return set(engine.effective.handlers) - {"runc"}


@EACH
def test_a_node_is_set_up_and_reverted(tmp_path: Path, release: Version) -> None:
    host, engine = k3s_host(tmp_path, release=release)
    before = host.tree()
    host.set_up()
    assert served(engine) == OURS
    assert engine.effective is not None
    assert engine.effective.default == "nvidia"
    report = host.revert()
    assert report is not None
    assert report.payload == "removed"
    assert served(engine) == set()
    assert engine.restarts == 2
    assert difference(host.tree(), before) == []


@pytest.mark.parametrize("found", [[], ["nvidia"], ["nvidia", "nvidia-cdi"], sorted(OURS)])
def test_a_node_whose_distribution_is_upgraded_starts_with_all_handlers(
    tmp_path: Path, found: list[str]
) -> None:
    host, engine = k3s_host(tmp_path, "--set-as-default=false")
    binaries = {name: name.replace("nvidia-", "nvidia-container-runtime.") for name in OURS}
    binaries["nvidia"] = "nvidia-container-runtime"
    host.set_up()
    engine.finds = {name: binaries[name] for name in found}
    engine.boot()
    assert served(engine) == OURS
    host.revert()
    assert served(engine) == set()


@EACH
def test_handlers_that_it_found_stay_while_a_container_keeps_the_payload(
    tmp_path: Path, release: Version
) -> None:
    host, engine = k3s_host(tmp_path, release=release)
    before = host.tree()
    host.set_up()
    engine.holding = HELD
    report = host.revert()
    assert report is not None
    assert (report.payload, report.kept_for) == ("kept", ("pod",))
    assert served(engine) == {"nvidia", "nvidia-cdi"}
    restarts = engine.restarts
    host.revert()
    assert engine.restarts == restarts
    engine.holding = HoldReport(holding=Holding.FREE)
    report = host.revert()
    assert report is not None
    assert report.payload == "removed"
    assert served(engine) == set()
    assert difference(host.tree(), before) == []


@EACH
def test_a_handler_of_another_name_leaves_none_that_it_found(
    tmp_path: Path, release: Version
) -> None:
    host, engine = k3s_host(
        tmp_path, "--runtime-name=gpu", "--set-as-default=false", release=release
    )
    before = host.tree()
    host.set_up()
    assert served(engine) == OURS | {"gpu"}
    host.revert()
    assert served(engine) == set()
    assert difference(host.tree(), before) == []


def test_a_default_of_another_name_is_refused_but_where_a_drop_in_names_it(tmp_path: Path) -> None:
    host, engine = k3s_host(tmp_path / "template", "--runtime-name=gpu")
    before = host.tree()
    with pytest.raises(ToolkitError, match="takes no default but nvidia"):
        host.set_up()
    assert engine.restarts == 0
    assert difference(host.tree(), before) == []
    host, engine = k3s_host(tmp_path / "drop-in", "--runtime-name=gpu", release=IMPORTING)
    host.set_up()
    assert engine.effective is not None
    assert engine.effective.default == "gpu"
    host.revert()
    assert engine.effective.default == "runc"


def test_a_default_that_somebody_named_since_keeps_the_payload(tmp_path: Path) -> None:
    host, engine = k3s_host(tmp_path)
    host.set_up()
    host.place(OPTIONS, b"default-runtime: 'nvidia' # for all\n")
    report = host.revert()
    assert report is not None
    assert report.kept_for == ("(the option default-runtime of k3s)",)
    assert engine.running


@EACH
@pytest.mark.parametrize("kept", [False, True], ids=["fresh", "over a payload that was kept"])
def test_a_set_up_that_fails_leaves_what_was_served_before(
    tmp_path: Path, release: Version, *, kept: bool
) -> None:
    host, engine = k3s_host(tmp_path, release=release)
    if kept:
        host.set_up()
        engine.holding = HELD
        host.revert()
    before, was = host.tree(), served(engine)
    engine.refuses = lambda handlers: "no" if "nvidia-legacy" in handlers else None
    with pytest.raises(ToolkitError, match="CRI plugin failed") as caught:
        host.set_up()
    assert caught.value.undone
    assert served(engine) == was
    assert difference(host.tree(), before) == []


def test_an_engine_that_does_not_come_back_keeps_no_payload_that_is_gone(tmp_path: Path) -> None:
    host, engine = k3s_host(tmp_path)
    host.set_up()
    engine.refuses = lambda _handlers: "no"
    for _ in range(2):
        with pytest.raises(ToolkitError, match="CRI plugin failed") as caught:
            host.revert()
        assert not (host.install_dir / "toolkit").exists()
        assert caught.value.hint == "restart the engine"


@pytest.mark.parametrize("default", ["true", "false"])
def test_a_service_that_nobody_restarts_keeps_the_payload_until_somebody_does(
    tmp_path: Path, default: str
) -> None:
    host, engine = k3s_host(tmp_path, "--restart-mode=none", f"--set-as-default={default}")
    before = host.tree()
    host.set_up()
    engine.boot()
    assert served(engine) == OURS
    report = host.revert()
    assert report is not None
    assert report.payload == "kept"
    engine.boot()
    assert served(engine) == {"nvidia", "nvidia-cdi"}
    report = host.revert()
    assert report is not None
    assert report.payload == "removed"
    engine.boot()
    assert served(engine) == set()
    assert difference(host.tree(), before) == []
