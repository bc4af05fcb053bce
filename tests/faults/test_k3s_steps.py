"""A kill at any step on a k3s that finds the payload by itself, and a start of it at any step."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.fakes.faulty_syscalls import CrashPoint
from tests.faults.node_host import difference
from tests.faults.steps import SHORT, Steps, points
from tests.unit.test_k3s_autodetect import k3s_host, served
from toolkit.errors import ToolkitError


@pytest.mark.parametrize("act", ["setup", "failing setup", "revert"])
def test_k3s_could_start_at_any_step_and_a_kill_at_any_is_settled_by_a_revert(
    tmp_path: Path, act: str
) -> None:
    def run(directory: Path, steps: Steps, *, killed: bool) -> None:
        host, engine = k3s_host(directory)
        before = host.tree()
        if act == "revert":
            host.set_up()
        if act == "failing setup":
            engine.refuses = lambda handlers: "no" if "nvidia-legacy" in handlers else None
        steps.watch = engine.check_startable
        if killed:
            with pytest.raises(CrashPoint):
                host.revert(steps) if act == "revert" else host.set_up(steps)
        elif act == "failing setup":
            with pytest.raises(ToolkitError):
                host.set_up(steps)
        else:
            host.revert(steps) if act == "revert" else host.set_up(steps)
        engine.refuses = lambda _handlers: None
        host.revert()
        assert served(engine) == set()
        assert difference(host.tree(), before) == []
        assert host.leftovers() == []

    all_steps = Steps()
    run(tmp_path / "whole", all_steps, killed=False)
    for number in points(len(all_steps.done), SHORT):
        run(tmp_path / str(number), Steps(at=number), killed=True)
        shutil.rmtree(tmp_path / str(number))
