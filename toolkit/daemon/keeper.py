"""The resident process between a setup and the next event: standard library C modules only.

Run by ``python -I -S stay.py`` in place of the daemon, with its PID, its blocked signals and the
lock's descriptor. ``toolkit.daemon.watch`` prepares what to watch, what to answer and what to exec
back into, and ``toolkit.daemon.handover`` passes it on: ``json``, ``socket`` or ``signal`` (for
``enum``) alone would cost more memory than the whole keeper.
"""

import posix
import time

from toolkit.daemon import handover
from toolkit.daemon.observe import (
    DOWN,
    MUTE,
    PROBE_SECONDS,
    SOCKET_SECONDS,
    executable_signature,
    peer_of,
    signature,
)
from toolkit.host import signals

TYPE_CHECKING = False
"""The constant of ``typing``, without loading that module."""
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from toolkit.daemon.keeper_state import Watch
    from toolkit.daemon.probes import Probes
    from toolkit.host.followed import Followed

AGAIN = "what failed is tried again"
LONGEST_WAIT = 3600.0
"""Seconds."""
LABEL = "feature.node.kubernetes.io/nvidia-toolkit.ready"
"""The label by which the chart's RuntimeClasses select nodes (nodeGate)."""


class _Given:
    """A ``Watch``, without the library that makes those."""

    def __init__(self, fields: "dict[str, Any]") -> None:
        self.__dict__ = fields


def given(fields: "dict[str, Any]") -> "Watch":
    """Return the record's ``Watch``."""
    return _Given(fields)  # type: ignore[return-value]


def difference(watch: "Watch", gives_up: "Callable[[], bool]") -> str:
    """Return the first difference from the prepared state; empty where there is none."""
    for path, known in watch.files:
        if signature(path) != known:
            return "file " + path
    if watch.socket:
        now, known = peer_of(watch.socket, watch.greeting, gives_up), watch.peer
        if now != known:
            if now in (DOWN, MUTE):
                return "engine " + ("stopped" if now == DOWN else "mute")
            return "engine " + ("answers again" if known in (DOWN, MUTE) else "restarted")
    # Last: an engine that has stopped takes its view of the files with it.
    for path, known in watch.programs:
        if executable_signature(path) != known:
            return "program " + path
    return ""


def remove(path: str) -> None:
    """Remove a file that may be gone already."""
    try:  # noqa: SIM105 - contextlib is not imported here
        posix.unlink(path)
    except OSError:
        pass


def label(watch: "Watch", ready: bool) -> None:  # noqa: FBT001 - no keywords here
    """Make Node Feature Discovery label the node until after the next look, or not at all.

    Its worker skips dot files and expired features (source/local/local.go).
    """
    if not watch.feature_file or watch.interval <= 0:
        return
    if not ready:
        remove(watch.feature_file)
        return
    end = time.time() + watch.interval * 1.5 + SOCKET_SECONDS
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end))
    directory, _, name = watch.feature_file.rpartition("/")
    beside = directory + "/." + name
    # An existing link or FIFO is neither written to nor waited for.
    remove(beside)
    try:
        file = posix.open(beside, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL)
        try:
            posix.fchmod(file, 0o644)
            posix.write(file, f"# +expiry-time={stamp}\n{LABEL}=true\n".encode())
        finally:
            posix.close(file)
        posix.rename(beside, watch.feature_file)
    except OSError:  # without the label the node gets no pods of the classes, as intended
        remove(beside)


class Keeper:
    """Watches the node, answers probes, and removes the ready file when something differs."""

    def __init__(self, watch: "Watch") -> None:
        self.watch = watch
        self._answers = list(watch.answers)
        self._probes: Probes | None = None
        self._followed: Followed | None = None
        self._ready = watch.ready
        self._marked = signature(watch.ready_file)
        self._began = time.monotonic()
        self._next_look = self._began + (watch.interval if watch.interval > 0 else float("inf"))
        self._seen = ""

    def is_ready(self) -> bool:
        """Return whether the node is marked ready."""
        return self._ready

    def until_something_happens(self) -> str:
        """Watch until something needs the daemon; return the reason."""
        label(self.watch, self.is_ready())
        while True:
            left = self._follow()
            followed = self._followed
            if followed is not None:
                if followed.fault:
                    self._not_ready(followed.fault)
                if followed.settled:
                    return f"{handover.DRIVER}: {followed.fault or AGAIN}"
            if self.wait(min(left, max(0.0, self._next_look - time.monotonic()))):
                return handover.SIGNAL
            if time.monotonic() >= self._next_look:
                reason = self._look()
                if reason:
                    return reason

    def wait(self, seconds: float) -> bool:
        """Wait for the seconds; return whether a termination signal is pending.

        The signal stays pending: the daemon decides what it means.
        """
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if left <= 0:
                return False
            taken = signals.take_signal(min(left, self._answer()))
            if taken:
                posix.kill(posix.getpid(), taken)
                return True

    def end(self) -> None:
        """Mark the node not ready for good: only the daemon marks it ready again."""
        self._ready = False
        remove(self.watch.ready_file)
        label(self.watch, False)  # noqa: FBT003 - takes no keywords

    def become(self, reason: str) -> None:
        """Become the daemon; does not return."""
        if reason == handover.SIGNAL:
            program = handover.program(self.watch)
            if program is not None:
                if self._probes is not None:
                    self._probes.close()  # clients that have not asked yet ask the daemon
                program()
        handover.become(self.watch, reason, self.wait)

    def _answer(self) -> float:
        """Answer probes; return the seconds until the next turn.

        The code for it is loaded only where there are probes.
        """
        if self.watch.listener_fd < 0:
            return LONGEST_WAIT
        if self._probes is None:
            try:
                from toolkit.daemon.probes import Probes
            except (ImportError, SyntaxError):  # the program is being replaced: probes ask again
                return PROBE_SECONDS
            self._probes = Probes(self.watch.listener_fd, self._answers)
        return self._probes.turn(self.is_ready())

    def _follow(self) -> float:
        """Look at what the CDI spec depends on; return the seconds until the next look.

        The code for it is loaded only where there is a spec.
        """
        if not self.watch.followed or self.watch.interval <= 0:
            return LONGEST_WAIT
        if self._followed is None:
            try:
                from toolkit.host.followed import Followed
            except (ImportError, SyntaxError):  # the program is being replaced: it is there soon
                return 1.0
            self._followed = Followed(list(self.watch.followed))
        return self._followed.look()

    def _look(self) -> str:
        """Compare with the prepared state; return what needs the daemon now, or an empty text."""
        watch = self.watch
        self._next_look = time.monotonic() + watch.interval
        found = difference(watch, self._gives_up) or self._ready_file_differs()
        if found:
            self._not_ready(found)
        label(watch, self.is_ready())
        # A difference counts even if it is gone again: only the daemon makes the ready file again.
        self._seen = found or self._seen
        now = time.monotonic()
        if self._seen and now >= self._began + watch.rest:
            return self._seen
        failed = watch.retry >= 0 and now >= self._began + watch.retry
        return "an earlier repair that failed" if failed else ""

    def _ready_file_differs(self) -> str:
        path = self.watch.ready_file
        return "file " + path if self._ready and signature(path) != self._marked else ""

    def _not_ready(self, why: str) -> None:
        """Mark the node not ready, before anything else: no probe must see a stale ready state."""
        if self._ready:
            self._answers[2] = f"not ready: {why}\n".encode(errors="replace").decode()
            self.end()

    def _gives_up(self) -> bool:
        self._answer()
        return signals.pending()


def main(fields: "dict[str, Any]") -> None:
    """Watch until something happens, then become the daemon again, with the reason."""
    signals.block_signals()
    keeper = Keeper(given(fields))
    reason = keeper.until_something_happens()
    keeper.end()
    keeper.become(reason)
