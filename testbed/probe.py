"""Measures for how long an engine is away: connects in a loop and asks CRI."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from testbed.cri import CriClient

INTERVAL = 0.001
"""Seconds between two looks; what is measured is right to this, and to CRI's own answer time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """One time that the engine was away; monotonic seconds."""

    refused_from: float
    connected_at: float
    answering_at: float

    @property
    def refused(self) -> float:
        """Seconds that the socket took no connection."""
        return self.connected_at - self.refused_from

    @property
    def silent(self) -> float:
        """Seconds until CRI was ready again."""
        return self.answering_at - self.refused_from


class DowntimeProbe:
    """Looks at a socket from ``__enter__`` to ``__exit__``; ``outages`` holds what it saw."""

    def __init__(self, path: Path, interval: float = INTERVAL) -> None:
        self.path = path
        self.interval = interval
        """Seconds between two looks: each takes time that an engine which starts could use."""
        self.outages: list[Outage] = []
        self._cri = CriClient(path, path.parent, timeout=1.0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="downtime probe")

    def __enter__(self) -> Self:
        """Start looking."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop looking, once an outage that began is over."""
        self._stop.set()
        self._thread.join()

    def longest(self) -> Outage | None:
        """Return the outage with the longest silence; None where there was none."""
        return max(self.outages, key=lambda outage: outage.silent, default=None)

    def _look(self) -> None:
        while not self._stop.is_set():
            if not self._connects():
                self._measure(time.monotonic())
            time.sleep(self.interval)

    def _measure(self, refused_from: float) -> None:
        give_up = refused_from + 60.0
        while not self._connects():
            if time.monotonic() > give_up:
                return
            time.sleep(self.interval)
        connected_at = time.monotonic()
        while not self._cri.ready():
            if time.monotonic() > give_up:
                return
            time.sleep(self.interval)
        self.outages.append(
            Outage(
                refused_from=refused_from,
                connected_at=connected_at,
                answering_at=time.monotonic(),
            )
        )

    def _connects(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1.0)
            try:
                client.connect(str(self.path))
            except OSError:
                return False
            return True
