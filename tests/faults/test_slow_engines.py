"""Real containerds that come back around each time-out: never reloaded twice, never given up on.

What a run ends with follows from who was faster, which a busy machine decides; what holds for each
end does not.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from testbed.containerd import RELEASES, RealContainerd, real_containerd
from testbed.program import Installer
from tests.faults.node_host import difference
from tests.faults.test_transaction_engines import CONFIG, host_tree, installer_for
from toolkit.errors import ExitCode

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="real engines need root"),
]
TIMEOUT = 2.0
"""Seconds, both for a setup and for a revert; a rollback waits as long once more."""
FACTORS = (0.7, 0.9, 1.1, 1.3, 1.8, 2.2, 3.0)


@pytest.fixture(params=[RELEASES[0], RELEASES[-1]], ids=lambda each: each.series)
def engine(request: pytest.FixtureRequest) -> Iterator[RealContainerd]:
    with real_containerd(request.param) as made:
        made.config.write_bytes(CONFIG)
        yield made


@pytest.fixture
def installer(engine: RealContainerd) -> Iterator[Installer]:
    made = installer_for(
        engine, TOOLKIT_VERIFY_TIMEOUT=str(TIMEOUT), TOOLKIT_STOP_TIMEOUT=str(TIMEOUT)
    )
    yield made
    made.end()


def deaths(engine: RealContainerd) -> int:
    return sum(each.event == "died" for each in engine.process.events())


def loaded_ours(engine: RealContainerd) -> bool:
    """Whether it may have loaded our files: its second process came before the files went back."""
    restored = engine.config.stat().st_ctime - time.time() + time.monotonic()
    spawned = [each.at for each in engine.process.events() if each.event == "spawned"]
    return len(spawned) > 1 and spawned[1] < restored


def come_back_after(engine: RealContainerd, seconds: float) -> None:
    """Let a supervisor start it that waits so long from now on."""
    engine.stop()
    engine.process.restart_delay = seconds
    engine.start()


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("then", ["revert", "start"])
def test_a_set_up_is_done_or_undone_by_one_reload_of_what_was_loaded(
    engine: RealContainerd, installer: Installer, factor: float, then: str, counts: Counter[str]
) -> None:
    come_back_after(engine, factor * TIMEOUT)
    before, served, died = host_tree(engine, installer), engine.cri.served(), deaths(engine)
    done = installer.run("--no-daemon")
    ends = (ExitCode.DONE, ExitCode.FAILED, ExitCode.NOT_RESTORED)
    assert done.returncode in ends, done.stderr
    engine.wait_ready()
    reloads = deaths(engine) - died
    undone = done.returncode != ExitCode.DONE
    assert reloads == 1 or (reloads == 2 and undone and loaded_ours(engine)), done.stderr
    counts[f"slow setups that ended with exit code {done.returncode}"] += 1
    if not undone:
        return
    assert "--verify-timeout" in done.stderr
    assert ("the host is as it was before" in done.stderr) is (done.returncode == ExitCode.FAILED)
    assert engine.cri.served() == served
    if done.returncode == ExitCode.FAILED:
        assert difference(host_tree(engine, installer), before) == []
    if then == "start":
        come_back_after(engine, 0.0)
        died = deaths(engine)
        again = installer.run("--no-daemon", "--verify-timeout=60")
        assert again.returncode == 0, again.stderr
        assert deaths(engine) == died + 1, again.stderr
        return
    again = installer.run("revert")
    assert again.returncode == 0, again.stderr
    assert deaths(engine) == died + reloads, again.stderr
    assert difference(host_tree(engine, installer), before) == []


@pytest.mark.parametrize("factor", FACTORS)
def test_a_revert_reloads_once_and_a_second_one_finds_nothing_to_reload(
    engine: RealContainerd, installer: Installer, factor: float, counts: Counter[str]
) -> None:
    engine.start()
    before, served = host_tree(engine, installer), engine.cri.served()
    done = installer.run("--no-daemon", "--verify-timeout=60")
    assert done.returncode == 0, done.stderr
    engine.wait_ready()
    come_back_after(engine, factor * TIMEOUT)
    died = deaths(engine)
    done = installer.run("revert")
    assert done.returncode in (ExitCode.DONE, ExitCode.NOT_RESTORED), done.stderr
    counts[f"slow reverts that ended with exit code {done.returncode}"] += 1
    if done.returncode == ExitCode.NOT_RESTORED:
        assert "--stop-timeout" in done.stderr
        engine.wait_ready()
        again = installer.run("revert")
        assert again.returncode == 0, again.stderr
    assert deaths(engine) == died + 1, done.stderr
    assert engine.cri.served() == served
    assert difference(host_tree(engine, installer), before) == []
