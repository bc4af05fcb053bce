"""The runtime's path answers at every moment of a re-installation."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from testbed.payload_host import FIRST, SECOND, real_root, settings_of
from toolkit.host.clock import UninterruptedClock
from toolkit.payload.installer import PayloadInstaller
from toolkit.payload.low_level import LowLevelRuntimes

EXECUTIONS = 2000
INSTALLATIONS = 10


@pytest.mark.parametrize("low_level", ["first", "alternating"])
def test_not_one_of_2000_executions_fails_during_ten_installations(
    tmp_path: Path, low_level: str
) -> None:
    host = real_root(tmp_path)
    install_dir = tmp_path / "nvidia"
    runtimes = ["/bin/true", "/usr/bin/true"] if low_level == "alternating" else ["/bin/true"]

    def install(number: int) -> None:
        release = (FIRST, SECOND)[number % 2]
        settings = settings_of(
            f"--toolkit-source-root={host.payload(release)}", f"--toolkit-install-dir={install_dir}"
        )
        installer = PayloadInstaller(settings=settings, root=host.root, writer=host.writer())
        runtime = runtimes[number % len(runtimes)]
        plan = installer.plan(LowLevelRuntimes(paths=(runtime,), engine_runtime=runtime))
        record = installer.intent(plan)
        installer.stage(plan, UninterruptedClock())
        installer.swap(record)
        installer.commit(record)

    install(0)
    wrapper = os.fspath(install_dir / "toolkit/nvidia-container-runtime")
    failed: list[int] = []
    executed = 0
    installing = threading.Event()
    installing.set()

    def execute() -> None:
        nonlocal executed
        while executed < EXECUTIONS or installing.is_set():
            status = subprocess.run([wrapper, "--version"], check=False).returncode
            executed += 1
            if status != 0:
                failed.append(status)

    thread = threading.Thread(target=execute)
    thread.start()
    try:
        for number in range(1, INSTALLATIONS + 1):
            while executed < number * EXECUTIONS // (INSTALLATIONS + 1):
                assert thread.is_alive()
                threading.Event().wait(0.001)
            install(number)
    finally:
        installing.clear()
        thread.join()
    assert executed >= EXECUTIONS
    assert failed == []
