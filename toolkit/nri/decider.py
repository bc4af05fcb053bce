"""Decisions with a deadline: our own code, slow or failing, never holds up a container.

The decision is made by a worker thread. When it is not there in time the answer is "no devices",
and the worker is left to itself and replaced.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue

from toolkit.nri.messages import CreateContainerRequest

MAX_STUCK = 8
"""Workers that are left to themselves; with so many stuck no further one is started."""

Decide = Callable[[CreateContainerRequest], Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A container to decide on."""

    key: tuple[int, int]
    """The connection's number and the call's stream."""
    request: CreateContainerRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A decision, or why there is none."""

    key: tuple[int, int]
    devices: tuple[str, ...] = ()
    error: str = ""


class Decider:
    """Runs ``decide`` for one task after the other and hands each outcome to ``done``."""

    def __init__(self, decide: Decide, done: Callable[[Decided], None]) -> None:
        """``done`` is called in the worker's thread and has to be quick."""
        self._decide = decide
        self._done = done
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._stuck: list[_Worker] = []
        self._worker = self._new_worker()

    def start(self) -> None:
        """Begin to decide."""
        self._worker.start()

    def submit(self, task: Task) -> bool:
        """Queue a task; False where every worker is stuck."""
        self._stuck = [worker for worker in self._stuck if worker.alive]
        if self._worker.abandoned:
            if len(self._stuck) >= MAX_STUCK:
                return False
            self._restart()
        self._tasks.put(task)
        return True

    def give_up(self, key: tuple[int, int]) -> None:
        """Stop waiting for a task; the worker that is at it gets no further one."""
        if self._worker.key == key:
            self._worker.abandoned = True
            self._stuck.append(self._worker)
            if len(self._stuck) < MAX_STUCK:
                self._restart()

    def close(self) -> None:
        """Let the worker end; one that is stuck ends with the process."""
        self._tasks.put(None)

    def _restart(self) -> None:
        self._worker = self._new_worker()
        self._worker.start()

    def _new_worker(self) -> _Worker:
        return _Worker(self._decide, self._done, self._tasks)


class _Worker:
    """One thread."""

    def __init__(
        self,
        decide: Decide,
        done: Callable[[Decided], None],
        tasks: SimpleQueue[Task | None],
    ) -> None:
        self.key: tuple[int, int] | None = None
        """The task that it is at."""
        self.abandoned = False
        self._decide = decide
        self._done = done
        self._tasks = tasks
        self._thread = threading.Thread(target=self._run, name="nri-decider", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            if self.abandoned:
                # Given up on just when it had finished: the task is for its successor.
                self._tasks.put(task)
                return
            self.key = task.key
            self._done(self._outcome(task))
            self.key = None
        if self.abandoned:
            self._tasks.put(None)

    def _outcome(self, task: Task) -> Decided:
        try:
            return Decided(key=task.key, devices=tuple(self._decide(task.request)))
        except Exception as error:  # noqa: BLE001 - whatever it is, the container must not wait
            return Decided(key=task.key, error=repr(error))
