"""What an earlier run left: `plan` ends with what a start would end with before it writes."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime_configs.model import Version
from tests.fakes.faulty_syscalls import CrashPoint
from tests.faults.node_host import CONFIG, FaultHost
from tests.faults.steps import ENGINE, Steps
from tests.property.test_start_foretold import needs_root, plan_with
from tests.unit.doctor_host import node_of
from toolkit.daemon.process import FirstDaemon
from toolkit.errors import ToolkitError
from toolkit.host.clock import UninterruptedClock
from toolkit.report.doctor import Verdict, examine

TWELFTH = 12
"""A step in the middle of a revert."""


# Before


def set_up(*flags: str) -> Callable[[FaultHost], None]:
    def act(host: FaultHost) -> None:
        host.set_up(None, *flags)

    return act


def killed_before(step: str) -> Callable[[FaultHost], None]:
    def act(host: FaultHost) -> None:
        whole = Steps()
        host.set_up(whole)
        host.revert()
        with contextlib.suppress(CrashPoint):
            host.set_up(Steps(at=whole.done.index(step)))

    return act


def killed_in_a_revert(host: FaultHost) -> None:
    host.set_up()
    with contextlib.suppress(CrashPoint):
        host.revert(Steps(at=TWELFTH))


def without_journal(host: FaultHost) -> None:
    host.set_up()
    shutil.rmtree(host.install_dir / ".toolkit-journal")


EARLIER = {
    "a setup": set_up(),
    "a setup elsewhere": set_up("--toolkit-install-dir=/opt/nvidia"),
    "a setup without the engine": set_up("--no-runtime-config"),
    "a setup killed early": killed_before("exchange"),
    "a setup killed late": killed_before("signal"),
    "a revert that was killed": killed_in_a_revert,
    "a lost journal": without_journal,
}


# Since then

Later = Callable[[FaultHost], tuple[str, ...]]
"""Changes the host, and returns the flags of the start."""
MOUNTED: list[Path] = []


def flags(*given: str) -> Later:
    return lambda _host: given


def edited(content: bytes, *, kept: bool = False) -> Later:
    def act(host: FaultHost) -> tuple[str, ...]:
        before = host.read(CONFIG) or b""
        host.place(CONFIG, before + content if kept else content)
        return ()

    return act


def read_only(path: str) -> Later:
    def act(host: FaultHost) -> tuple[str, ...]:
        at = host.root / path[1:]
        at.mkdir(parents=True, exist_ok=True)
        subprocess.run(("/bin/mount", "--bind", at, at), check=True)
        MOUNTED.append(at)
        subprocess.run(("/bin/mount", "-o", "remount,bind,ro", at), check=True)
        return ()

    return act


def dead(host: FaultHost) -> tuple[str, ...]:
    host.engine.running, host.engine.effective = False, None
    return ()


def refusing(host: FaultHost) -> tuple[str, ...]:
    host.engine.running, host.engine.effective, host.engine.problem = True, None, "no such plugin"
    return ()


def damaged(host: FaultHost) -> tuple[str, ...]:
    for path in host.root.rglob(".toolkit-journal/*.json"):
        path.write_text("{")
    return ()


def without_blobs(host: FaultHost) -> tuple[str, ...]:
    for path in host.root.rglob(".toolkit-journal/blobs/*"):
        path.unlink()
    return ()


LATER: dict[str, Later] = {
    "nothing": flags(),
    "no engine any more": flags("--no-runtime-config"),
    "restart mode none": flags("--restart-mode=none"),
    "a config that is none": edited(b"[broken\n"),
    "an edit under ours": edited(b"\n# theirs\n", kept=True),
    "a read-only config": read_only("/etc/containerd"),
    "a read-only install directory": read_only("/usr/local/nvidia"),
    "a dead engine": dead,
    "an engine that refuses": refusing,
    "a damaged journal": damaged,
    "a lost content": without_blobs,
}


class Writes(Steps):
    """Counts what changes files, and not the looks at the engine."""

    def take(self, name: str, path: str = "") -> None:
        if name not in ENGINE:
            super().take(name, path)


def start_of(host: FaultHost, *more: str) -> ToolkitError | None:
    """Start up to the first write, the ready file's removal aside."""
    steps = Writes()
    daemon = FirstDaemon.locked(node_of(host, *more, steps=steps), UninterruptedClock())
    daemon._presence.mark_not_ready = lambda: None  # type: ignore[method-assign]
    steps.at = len(steps.done)
    try:
        daemon.start()
    except ToolkitError as error:
        return error
    except CrashPoint:
        return None
    return None


@needs_root
@pytest.mark.parametrize("later", LATER)
@pytest.mark.parametrize("earlier", EARLIER)
@pytest.mark.parametrize("minor", [7, 1], ids=["1.7", "2.1"])
def test_what_an_earlier_run_left_is_judged_as_a_start_judges_it(
    tmp_path: Path, minor: int, earlier: str, later: str
) -> None:
    host = FaultHost(tmp_path, version=Version(major=1 if minor == 7 else 2, minor=minor))
    EARLIER[earlier](host)
    try:
        given = (*LATER[later](host), "--no-daemon", "--verify-timeout=0.02")
        plan = plan_with(node_of(host, *given))
        findings = examine(node_of(host, *given))
        start = start_of(host, *given)
    finally:
        while MOUNTED:
            subprocess.run(("/bin/umount", "-l", MOUNTED.pop()), check=True)
    if start is not None:
        assert str(plan) == str(start)
    if plan is not None:
        assert any(each.verdict is Verdict.PROBLEM for each in findings), plan
