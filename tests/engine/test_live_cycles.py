"""Setup and revert again and again on a live engine, while containers start through the handler."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import Counter
from typing import Self

import pytest

from testbed.containerd import RELEASES, RealContainerd
from testbed.program import Installer, snapshot
from testbed.supervised import wait_for
from tests.engine.resident import installer_of

pytestmark = pytest.mark.engine
EVERY = 0.2
"""Seconds between two starts of a container."""
WANTED = 3
"""Containers that start in each cycle through the handler."""
LEFT_BY_ITS_END = re.compile(r"snapshots/new-\d+ \S*/snapshots/\d+: file exists")
"""containerd that ends while it prepares a snapshot leaves its directory and gives the next one the
same number; that one fails and removes the directory (2.1.9, plugins/snapshots/overlay/overlay.go:
the rename comes before the commit). Any restart of containerd does it."""


class Starts:
    """Starts pods through the handler and tells whose a failure is.

    One that fails while the ready file is there, before and after, is ours: without it the handler
    is not promised, and the engine may be on its way back. The first start after a restart may fail
    for what containerd left of a snapshot; the second one may not.
    """

    def __init__(self, containerd: RealContainerd, installer: Installer) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self._containerd, self._installer = containerd, installer
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._done.set()
        self._thread.join()

    def _ready(self) -> int | None:
        try:
            return self._installer.ready_file.stat().st_ino
        except FileNotFoundError:
            return None

    def _run(self) -> None:
        excused: int | None = None
        while not self._done.wait(EVERY):
            before = self._ready()
            try:
                pod = self._containerd.cri.run_pod("nvidia")
            except Exception as error:  # noqa: BLE001 - whatever it is, whose it is counts
                if before is None or before != self._ready():
                    self.counts["not ready"] += 1
                elif LEFT_BY_ITS_END.search(str(error)) and excused != before:
                    excused = before
                    self.counts["left by containerd's end"] += 1
                else:
                    self.failures.append(repr(error))
                continue
            self.counts["started"] += 1
            try:
                self._containerd.cri.remove_pod(pod)
            except Exception:  # noqa: BLE001 - the engine is being reloaded
                self.counts["left"] += 1


@pytest.mark.parametrize("containerd_release", RELEASES[-1:], ids=["containerd-2.1"])
@pytest.mark.parametrize(
    "cycles", [3, pytest.param(300, marks=[pytest.mark.long, pytest.mark.timeout(0)])]
)
def test_no_start_of_a_container_fails_while_the_node_is_ready(
    containerd: RealContainerd, cycles: int
) -> None:
    containerd.start()
    containerd.import_image()
    installer = installer_of(containerd, TOOLKIT_STOP_TIMEOUT="60")
    before = snapshot(containerd.config.parent)
    began = time.monotonic()
    try:
        with Starts(containerd, installer) as starts:
            for _ in range(cycles):
                installer.start()
                installer.wait_ready(60)
                wanted = starts.counts["started"] + WANTED
                wait_for(lambda wanted=wanted: starts.counts["started"] >= wanted, "starts", 60)  # type: ignore[misc]
                assert installer.stop(timeout=120) == 0, installer.log()[-3000:]
                assert snapshot(containerd.config.parent) == before
                assert not starts.failures, starts.failures
    finally:
        installer.end()
    seconds = time.monotonic() - began
    sys.stderr.write(f"{cycles} cycles in {seconds:.0f} s, {dict(starts.counts)}\n")
    assert not starts.failures, starts.failures
