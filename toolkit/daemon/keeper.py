"""The resident process between a setup and the next event: standard library C modules only.

Run by ``python -I -S stay.py ARGUMENTS`` in place of the daemon, with its PID, its blocked signals
and the lock's descriptor. ``toolkit.daemon.keeper_state`` prepares what to watch, what to answer
and what to exec back into, and passes it in the arguments: ``json``, ``socket`` or ``signal`` (for
``enum``) alone would cost more memory than the whole keeper.
"""

import _socket
import posix
import sys
import time

SCRIPT = __file__.rpartition("/")[0] + "/stay.py"
PACKAGES = __file__.rpartition("/")[0].rpartition("/")[0].rpartition("/")[0]
PROGRAM = PACKAGES + "/toolkit/__main__.py"
if __name__ == "__main__":
    sys.path.insert(0, PACKAGES)

from toolkit.host import signals  # noqa: E402 - found only now, without site packages

TYPE_CHECKING = False
"""The constant of ``typing``, without loading that module."""
if TYPE_CHECKING:
    from collections.abc import Callable

    from toolkit.daemon.probes import Probes
    from toolkit.host.followed import Followed

PEER_CREDENTIALS_BYTES = 12
"""struct ucred of SO_PEERCRED: pid, uid, gid, four bytes each."""
DOWN = "-"
MUTE = "mute"
"""An engine that hangs while the kernel still accepts connections for it."""
EXECUTED = "x"
"""The first letter of the signature of a program that the engine executes."""
FOLLOWED = "f"
"""The first letter of the state of an entry that the CDI spec depends on."""
DRIVER = "driver"
"""The start of the reason where only the CDI spec has to be made again."""
AGAIN = "what failed is tried again"
SOCKET_SECONDS = 3.0
"""How long an engine may take for its first byte."""
PROBE_SECONDS = 0.2
"""With ``--health-address``: the longest that a probe waits to be accepted."""
LABEL = "feature.node.kubernetes.io/nvidia-toolkit.ready"
"""The label by which the chart's RuntimeClasses select nodes (nodeGate)."""
SIGNAL = "signal"
"""The reason to become the daemon where a signal asks for a stop."""
RETURN_SECONDS = 10.0
"""How long a signal to stop waits for the program to return."""


class KeeperArguments:
    """The arguments that ``toolkit.daemon.keeper_state`` prepared, in its order."""

    def __init__(self, arguments: "list[str]") -> None:
        self.interval, self.rest, self.retry = map(float, arguments[:3])
        self.listener = int(arguments[3])
        self.probes: Probes | None = None
        """The clients on the listener; None until the first turn, and without a listener."""
        self.ready = arguments[4] == "ready"
        """Whether the daemon marked the engine ready: the ready file may be a stale one."""
        self.ready_file, self.socket, self.peer = arguments[5:8]
        self.greeting = bytes.fromhex(arguments[8])
        self.away, self.stuck = arguments[9:11]
        """The log lines that only this process writes, for ``tell``."""
        self.answers = arguments[11:16]
        count = int(arguments[16])
        pairs, self.command = arguments[17 : 17 + count], arguments[17 + count :]
        self.watched: list[str] = []
        """Paths, each followed by its signature."""
        known: list[tuple[str, str]] = []
        for path, mark in zip(pairs[::2], pairs[1::2], strict=True):
            if mark[:1] == FOLLOWED:
                known.append((path, mark[1:]))
            else:
                self.watched += (path, mark)
        self.known = known if self.interval > 0 else []
        """What the CDI spec depends on."""
        self.followed: Followed | None = None
        self.feature_file = posix.environ.get(b"NVIDIA_TOOLKIT_FEATURE_FILE", b"").decode(
            errors="surrogateescape"
        )
        """The file that labels the node while it is ready; empty without a label."""


def signature(path: str) -> str:
    """Return a text that changes when the file is written or replaced; ``-`` without a file."""
    try:
        found = posix.stat(path)
    except OSError:
        return "-"
    # Every write changes ctime; mtime can be set back.
    return f"{found.st_mode:o}:{found.st_ino}:{found.st_size}:{found.st_ctime_ns}"


def executable_signature(path: str) -> str:
    """Return a text that changes when a program is replaced, hidden or no longer executable.

    It begins with a letter that no other signature has.
    """
    try:
        found, mounted = posix.stat(path), posix.statvfs(path)
    except OSError:
        return EXECUTED + "-"
    barred = mounted.f_flag & posix.ST_NOEXEC
    return f"{EXECUTED}{found.st_mode:o}:{found.st_dev}:{found.st_ino}:{barred}"


def _never() -> bool:
    return False


def peer_of(path: str, greeting: bytes = b"", gives_up: "Callable[[], bool]" = _never) -> str:
    """Return the PID that listens on a socket, ``-`` where nobody does.

    With a greeting: ``mute`` where no byte comes in answer in time, or before ``gives_up``, which
    is called now and then, returns true.
    """
    try:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    except OSError:  # without a descriptor there is no proof that it answers
        return MUTE
    try:
        sock.settimeout(SOCKET_SECONDS)
        sock.connect(path)
        found = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, PEER_CREDENTIALS_BYTES)
    except OSError:
        sock.close()
        return DOWN
    try:
        if greeting:
            sock.sendall(greeting)
            if not _says_something(sock, gives_up):
                return MUTE
        return str(int.from_bytes(found[:4], sys.byteorder))
    except OSError:
        return MUTE
    finally:
        sock.close()


def _says_something(sock: "_socket.socket", gives_up: "Callable[[], bool]") -> bool:
    end = time.monotonic() + SOCKET_SECONDS
    sock.settimeout(PROBE_SECONDS)
    while time.monotonic() < end and not gives_up():
        try:
            return bool(sock.recv(1))
        except TimeoutError:
            pass
    return False


def difference(
    socket: str,
    peer: str,
    watched: list[str],
    greeting: bytes = b"",
    gives_up: "Callable[[], bool]" = _never,
) -> str:
    """Return the first difference from the prepared state; empty where there is none."""
    for index in range(0, len(watched), 2):
        path, known = watched[index], watched[index + 1]
        if known[:1] != EXECUTED and signature(path) != known:
            return "file " + path
    if socket:
        now = peer_of(socket, greeting, gives_up)
        if now != peer:
            if now in (DOWN, MUTE):
                return "engine " + ("stopped" if now == DOWN else "mute")
            return "engine " + ("answers again" if peer in (DOWN, MUTE) else "restarted")
    # Last: an engine that has stopped takes its view of the files with it.
    for index in range(0, len(watched), 2):
        path, known = watched[index], watched[index + 1]
        if known[:1] == EXECUTED and executable_signature(path) != known:
            return "program " + path
    return ""


def wait(seconds: float, given: KeeperArguments, ready: bool) -> bool:  # noqa: FBT001 - no keywords here
    """Wait for the seconds, forever if negative; return whether a termination signal is pending.

    The signal stays pending: the daemon decides what it means.
    """
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic() if seconds >= 0 else 3600.0
        if left <= 0:
            return False
        if given.listener >= 0:
            left = min(left, _answer(given, ready))
        taken = signals.take_signal(left)
        if taken:
            posix.kill(posix.getpid(), taken)
            return True


def _answer(given: KeeperArguments, ready: bool) -> float:  # noqa: FBT001 - the same
    """Answer probes; return the seconds until the next turn.

    The code for it is loaded only where there are probes.
    """
    if given.probes is None:
        try:
            from toolkit.daemon.probes import Probes
        except (ImportError, SyntaxError):  # the program is being replaced: probes ask again
            return PROBE_SECONDS
        given.probes = Probes(given.listener, given.answers)
    return given.probes.turn(ready)


def follow(given: KeeperArguments) -> float:
    """Look at what the CDI spec depends on; return the seconds until the next look.

    The code for it is loaded only where there is a spec.
    """
    if not given.known:
        return 3600.0
    if given.followed is None:
        try:
            from toolkit.host.followed import Followed
        except (ImportError, SyntaxError):  # the program is being replaced: it is there soon
            return 1.0
        given.followed = Followed(given.known)
    return given.followed.look()


def remove(path: str) -> None:
    """Remove a file that may be gone already."""
    try:  # noqa: SIM105 - contextlib is not imported here
        posix.unlink(path)
    except OSError:
        pass


def label(given: KeeperArguments, ready: bool) -> None:  # noqa: FBT001 - the same
    """Make Node Feature Discovery label the node until after the next look, or not at all.

    Its worker skips dot files and expired features (source/local/local.go).
    """
    if not given.feature_file or given.interval <= 0:
        return
    if not ready:
        remove(given.feature_file)
        return
    end = time.time() + given.interval * 1.5 + SOCKET_SECONDS
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end))
    directory, _, name = given.feature_file.rpartition("/")
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
        posix.rename(beside, given.feature_file)
    except OSError:  # without the label the node gets no pods of the classes, as intended
        remove(beside)


def tell(template: str, reason: str) -> None:
    """Write a log line, if it can still be written.

    Its first letter is the time zone of its pattern: L is local, Z is UTC.
    """
    clock = time.localtime() if template[0] == "L" else time.gmtime()
    text = time.strftime(template[1:], clock).replace("REASON", reason)
    try:  # noqa: SIM105 - contextlib is not imported here
        posix.write(2, text.encode(errors="surrogateescape") + b"\n")
    except OSError:
        pass


def become(given: KeeperArguments, reason: str) -> None:
    """Exec back into the daemon with the reason; does not return.

    Waits for a program that is missing, as in the middle of an upgrade. At a signal the wait ends
    with exit code 3, as the setup stays.
    """
    environment = dict(posix.environ)
    logged = False
    end = time.monotonic() + RETURN_SECONDS
    while True:
        environment[b"NVIDIA_TOOLKIT_WOKEN"] = reason.encode(errors="surrogateescape")
        try:
            posix.stat(PROGRAM)
            posix.execve(given.command[0], given.command, environment)
        except OSError as error:
            why = error.strerror or ""
            if reason == SIGNAL and time.monotonic() >= end:
                tell(given.stuck, why)
                posix._exit(3)  # noqa: SLF001 - the module's name for it
            if not logged:
                logged = True
                tell(given.away, why)
        if reason == SIGNAL:
            time.sleep(0.1)
        elif wait(1.0, given, False):  # noqa: FBT003 - takes no keywords
            reason, end = SIGNAL, time.monotonic() + RETURN_SECONDS


def go_on(given: KeeperArguments, reason: str) -> None:
    """Become the daemon in this same process at a signal, without a second interpreter.

    Returns where the program cannot be loaded like this; ``become`` then starts it as at first.
    """
    if reason != SIGNAL:
        return
    import importlib
    import os

    count, *paths = posix.environ.get(b"NVIDIA_TOOLKIT_START", b"").decode().split("\n")
    if not paths:
        return
    os.environ["NVIDIA_TOOLKIT_WOKEN"] = SIGNAL
    sys.path[:], sys.orig_argv[:] = [*paths, PACKAGES], given.command
    sys.argv[:] = given.command[-1 - int(count) :]
    for name in list(sys.modules):
        if name.partition(".")[0] == "toolkit":  # an upgrade may have come since it was loaded
            del sys.modules[name]
    try:  # by its name, as ``become`` starts it by its path
        program = importlib.import_module("toolkit.__main__").program
    except Exception:  # noqa: BLE001 - whatever a half-written program raises, ``become`` waits for it
        return
    if given.probes is not None:
        given.probes.close()  # clients that have not asked yet ask the daemon
    program()


class Keeper:
    """Watches the node, and removes the ready file when something differs."""

    def __init__(self, given: KeeperArguments) -> None:
        self.given = given
        self.ready = given.ready
        self._marked = signature(given.ready_file)
        self._began = time.monotonic()
        self._next_look = self._began + given.interval
        self._seen = ""

    def until_something_happens(self) -> str:
        """Watch until something needs the daemon; return the reason."""
        given = self.given
        while True:
            left = max(0.0, self._next_look - time.monotonic()) if given.interval > 0 else -1.0
            if given.known:
                left = min(left, follow(given))
                fault = given.followed.fault if given.followed is not None else ""
                if fault:
                    self._not_ready(fault)
                if given.followed is not None and given.followed.settled:
                    return f"{DRIVER}: {fault or AGAIN}"
            if wait(left, given, self.ready):
                return SIGNAL
            if time.monotonic() >= self._next_look:
                reason = self._look()
                if reason:
                    return reason

    def _look(self) -> str:
        """Compare with the prepared state; return what needs the daemon now, or an empty text."""
        given = self.given
        self._next_look = time.monotonic() + given.interval
        found = difference(given.socket, given.peer, given.watched, given.greeting, self._gives_up)
        if not found and self.ready and signature(given.ready_file) != self._marked:
            found = "file " + given.ready_file
        if found:
            self._not_ready(found)
        label(given, self.ready)
        # A difference counts even if it is gone again: only the daemon makes the ready file again.
        self._seen = found or self._seen
        now = time.monotonic()
        if self._seen and now >= self._began + given.rest:
            return self._seen
        failed = given.retry >= 0 and now >= self._began + given.retry
        return "an earlier repair that failed" if failed else ""

    def _not_ready(self, why: str) -> None:
        """Mark the node not ready, before anything else: no probe must see a stale ready state."""
        if self.ready:
            self.ready = False
            self.given.answers[2] = f"not ready: {why}\n".encode(errors="replace").decode()
            remove(self.given.ready_file)
            label(self.given, False)  # noqa: FBT003 - takes no keywords

    def _gives_up(self) -> bool:
        if self.given.listener >= 0:
            _answer(self.given, self.ready)
        return signals.pending()


def main(arguments: "list[str]") -> None:
    """Watch until something happens, then become the daemon again, with the reason."""
    signals.block_signals()
    given = KeeperArguments(arguments)
    if given.listener >= 0:
        _answer(given, given.ready)
    label(given, given.ready)
    reason = Keeper(given).until_something_happens()
    remove(given.ready_file)
    label(given, False)  # noqa: FBT003 - takes no keywords
    go_on(given, reason)
    become(given, reason)


if __name__ == "__main__":
    main(sys.argv[1:])
