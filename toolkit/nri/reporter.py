"""Log lines and changes of state, reported by a thread of their own.

A log line can block for as long as nobody reads stderr, and a listener for state writes files to
disk: neither may hold up the thread on whose answer the engine waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol

MAX_WAITING = 1000
"""Log lines that wait to be written; beyond that they are counted and dropped."""


class Log(Protocol):
    """What is used of ``toolkit.logs``."""

    def step(self, event: str, message: str, /, **fields: object) -> None:
        """Say that a step was done."""

    def warning(self, event: str, message: str, /, **fields: object) -> None:
        """Say what a person should look at."""

    def error(self, event: str, message: str, /, **fields: object) -> None:
        """Say what went wrong."""

    def debug(self, event: str, message: str, /, **fields: object) -> None:
        """Say what helps to find a mistake."""


class Reporter:
    """A Log that never blocks, and runs callbacks in the order of its lines."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="nri-reporter", daemon=True)

    def start(self) -> None:
        """Begin to write what waits."""
        self._thread.start()

    def step(self, event: str, message: str, /, **fields: object) -> None:
        """Say that a step was done."""
        self._line(lambda: self._log.step(event, message, **fields))

    def warning(self, event: str, message: str, /, **fields: object) -> None:
        """Say what a person should look at."""
        self._line(lambda: self._log.warning(event, message, **fields))

    def error(self, event: str, message: str, /, **fields: object) -> None:
        """Say what went wrong."""
        self._line(lambda: self._log.error(event, message, **fields))

    def debug(self, event: str, message: str, /, **fields: object) -> None:
        """Say what helps to find a mistake."""
        self._line(lambda: self._log.debug(event, message, **fields))

    def call(self, callback: Callable[[], None]) -> None:
        """Run a callback after the lines before it; never dropped."""
        self._queue.put(callback)

    def close(self, timeout: float) -> None:
        """Write what waits, for at most so many seconds."""
        self._queue.put(None)
        self._thread.join(timeout)

    def _line(self, write: Callable[[], None]) -> None:
        if self._queue.qsize() >= MAX_WAITING:
            self._dropped += 1
            return
        self._queue.put(write)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - a listener's mistake must not silence the log
                self._log.error("nri.report_failed", "a listener failed", error=repr(error))
            if self._dropped and self._queue.empty():
                dropped, self._dropped = self._dropped, 0
                self._log.warning("nri.lines_dropped", "log lines were dropped", count=dropped)
