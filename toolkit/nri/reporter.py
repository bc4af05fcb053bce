"""Write log lines and report state changes from a separate thread.

A log line blocks while nothing reads stderr, and a state listener writes files to disk. Neither may
delay the thread whose answer the engine waits for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from toolkit.logs import Log

MAX_WAITING = 1000
"""Maximum number of queued log lines; further ones are counted and dropped."""


class Reporter:
    """A log that never blocks, and runs callbacks in the order of its lines."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="nri-reporter", daemon=True)

    def start(self) -> None:
        """Start writing queued lines."""
        self._thread.start()

    def step(self, event: str, message: str, /, **fields: object) -> None:
        """Log a completed step."""
        self._line(lambda: self._log.step(event, message, **fields))

    def warning(self, event: str, message: str, /, **fields: object) -> None:
        """Log something that needs attention."""
        self._line(lambda: self._log.warning(event, message, **fields))

    def error(self, event: str, message: str, /, **fields: object) -> None:
        """Log an error."""
        self._line(lambda: self._log.error(event, message, **fields))

    def call(self, callback: Callable[[], None]) -> None:
        """Run a callback after the lines before it; never dropped."""
        self._queue.put(callback)

    def close(self, timeout: float) -> None:
        """Write queued lines, for at most ``timeout`` seconds."""
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
            except Exception as error:  # noqa: BLE001 - a failing listener must not silence the log
                self._log.error("nri.report_failed", "a listener failed", error=repr(error))
            if self._dropped and self._queue.empty():
                dropped, self._dropped = self._dropped, 0
                self._log.warning("nri.lines_dropped", "log lines were dropped", count=dropped)
