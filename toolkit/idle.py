"""What stays resident between a set-up and the next event: standard library's C modules only.

Run as ``python -I -S idle.py ARGUMENTS`` in place of the daemon, with its PID, its blocked signals
and the lock's descriptor. It holds no knowledge: what to watch, what to answer and what to exec
back into is prepared by ``toolkit.residency`` and comes in the arguments, since ``json``,
``socket`` or ``signal`` (for ``enum``) alone would cost more memory than all of this.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import posix
import sys
import time

TYPE_CHECKING = False
"""What ``typing`` has under this name, without loading it."""
if TYPE_CHECKING:
    from collections.abc import Callable

ENDING = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGHUP)
TERMINATION = ENDING[: 3 if _signal.getsignal(_signal.SIGHUP) == _signal.SIG_IGN else 4]
"""Without the last one under ``nohup``."""
PEER_CREDENTIALS_BYTES = 12
"""struct ucred of SO_PEERCRED: pid, uid, gid, four bytes each."""
DOWN = "-"
MUTE = "mute"
"""An engine that hangs: the kernel still takes connections for it."""
SOCKET_SECONDS = 3.0
"""How long an engine may take for its first byte."""
PROBE_SECONDS = 0.2
"""With ``--health-address``: the longest that a probe waits to be taken."""
TURN_SECONDS = 0.5
"""How long probes are answered before signals and files have their turn again."""
CLIENT_SECONDS = 0.5
"""How long a client may take to say what it wants."""
REQUEST_BYTES = 4096
RETURN_SECONDS = 10.0
"""How long a signal to stop waits for the program to be there again."""
PROGRAM = __file__.rpartition("/")[0] + "/__main__.py"
STUCK = (
    "the program that has to revert can't be started: {}; the engine's config still holds the "
    "handlers, start the program again to take over or run its command `revert`\n"
)
AWAY = "the program can't be started: {}; it is tried again all the time\n"


def signature(path: str) -> str:
    """Return what changes when a file is written or replaced; ``-`` where there is none."""
    try:
        found = posix.stat(path)
    except OSError:
        return "-"
    # The time of change comes with every write; the one of modification can be set back.
    return f"{found.st_mode:o}:{found.st_ino}:{found.st_size}:{found.st_ctime_ns}"


def _never() -> bool:
    return False


def peer_of(path: str, greeting: bytes = b"", gives_up: "Callable[[], bool]" = _never) -> str:
    """Return the PID that listens on a socket, ``-`` where nobody does.

    With a greeting: ``mute`` where no byte comes in answer, in its time or before ``gives_up``,
    which is asked now and then, says so.
    """
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
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
    """Return what differs from what was prepared, or an empty text."""
    for index in range(0, len(watched), 2):
        if signature(watched[index]) != watched[index + 1]:
            return "file " + watched[index]
    if socket:
        now = peer_of(socket, greeting, gives_up)
        if now != peer:
            if now in (DOWN, MUTE):
                return "engine " + ("stopped" if now == DOWN else "mute")
            return "engine " + ("answers again" if peer in (DOWN, MUTE) else "restarted")
    return ""


def answer(listener: int, ready: bool, answers: list[str]) -> None:  # noqa: FBT001 - no keywords: see the module
    """Answer the HTTP requests that wait on a listening socket, for one turn at most.

    ``answers`` holds the texts of /healthz, /readyz when ready, /readyz when not, /metrics when
    ready and /metrics when not.
    """
    sock = _socket.socket(fileno=posix.dup(listener))
    end = time.monotonic() + TURN_SECONDS
    try:
        while time.monotonic() < end:
            sock.settimeout(0.0)
            try:
                # The C type has no public accept: ``socket.accept`` wraps this one.
                descriptor, _ = sock._accept()  # type: ignore[attr-defined] # noqa: SLF001
            except OSError:
                return
            _answer_one(_socket.socket(fileno=descriptor), ready, answers)
    finally:
        sock.close()


def _answer_one(client: "_socket.socket", ready: bool, answers: list[str]) -> None:  # noqa: FBT001 - the same
    try:
        client.settimeout(CLIENT_SECONDS)
        words = client.recv(REQUEST_BYTES).split(b" ", 2)
        path = words[1].split(b"?")[0] if len(words) > 1 else b""
        status, body = "200 OK", ""
        if path == b"/healthz":
            body = answers[0]
        elif path == b"/readyz":
            status = "200 OK" if ready else "503 Service Unavailable"
            body = answers[1] if ready else answers[2]
        elif path == b"/metrics":
            body = answers[3] if ready else answers[4]
        else:
            status = "404 Not Found"
        content = body.encode()
        client.sendall(
            (
                f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\n"
                f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
            ).encode()
            + (b"" if words[0] == b"HEAD" else content)
        )
    except OSError:
        return
    finally:
        client.close()


def wait(seconds: float, listener: int, ready: bool, answers: list[str]) -> bool:  # noqa: FBT001 - the same
    """Wait so long, for ever when negative; return whether a termination signal is pending.

    It stays pending: what it means is the daemon's to decide.
    """
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic() if seconds >= 0 else 3600.0
        if left <= 0:
            return False
        if listener >= 0:
            left = min(left, PROBE_SECONDS)
        taken = _signal.sigtimedwait(TERMINATION, left)
        if taken is not None:
            posix.kill(posix.getpid(), taken.si_signo)
            return True
        if listener >= 0:
            answer(listener, ready, answers)


def pending() -> bool:
    """Tell whether a termination signal is pending."""
    return any(each in TERMINATION for each in _signal.sigpending())


def remove(path: str) -> None:
    """Remove a file that may be gone."""
    try:  # noqa: SIM105 - contextlib is not imported here
        posix.unlink(path)
    except OSError:
        pass


def tell(text: str) -> None:
    """Say something, if anybody can still hear it."""
    try:  # noqa: SIM105 - contextlib is not imported here
        posix.write(2, text.encode(errors="surrogateescape"))
    except OSError:
        pass


def become(command: list[str], reason: str, listener: int, answers: list[str]) -> None:
    """Exec back into the daemon, saying why; does not return.

    A program that is away, in the middle of an upgrade or moved, is waited for. At a signal the
    wait ends with exit code 3, since what was to be undone stays.
    """
    environment = dict(posix.environ)
    told = False
    end = time.monotonic() + RETURN_SECONDS
    while True:
        environment[b"NVIDIA_TOOLKIT_WOKEN"] = reason.encode(errors="surrogateescape")
        try:
            posix.stat(PROGRAM)
            posix.execve(command[0], command, environment)
        except OSError as error:
            if reason == "signal" and time.monotonic() >= end:
                tell(STUCK.format(error))
                posix._exit(3)  # noqa: SLF001 - the module's name for it
            if not told:
                told = True
                tell(AWAY.format(error))
        if reason == "signal":
            time.sleep(0.1)
        elif wait(1.0, listener, False, answers):  # noqa: FBT003 - takes no keywords
            reason, end = "signal", time.monotonic() + RETURN_SECONDS


def main(arguments: list[str]) -> None:
    """Watch until something happens, then become the daemon again, saying what it was."""
    interval, rest, listener = float(arguments[0]), float(arguments[1]), int(arguments[2])
    ready_file, socket, peer = arguments[3], arguments[4], arguments[5]
    answers, greeting = arguments[6:11], bytes.fromhex(arguments[11])
    retry, count = float(arguments[12]), int(arguments[13])
    watched, command = arguments[14 : 14 + count], arguments[14 + count :]
    vouched = signature(ready_file)
    ready = vouched != "-"

    def gives_up() -> bool:
        if listener >= 0:
            answer(listener, ready, answers)
        return pending()

    began = time.monotonic()
    seen = reason = ""
    while not reason:
        if wait(interval if interval > 0 else -1.0, listener, ready, answers):
            reason = "signal"
            break
        found = difference(socket, peer, watched, greeting, gives_up)
        if not found and ready and signature(ready_file) != vouched:
            found = "file " + ready_file
        if found and ready:
            # Before anything else: a probe must not believe in what may be gone.
            ready = False
            remove(ready_file)
        # What was seen counts though it has gone by: the ready file is the daemon's to make again.
        seen = found or seen
        now = time.monotonic()
        if seen and now >= began + rest:
            reason = seen
        elif retry >= 0 and now >= began + retry:
            reason = "an earlier repair that failed"
    remove(ready_file)
    become(command, reason, listener, answers)


if __name__ == "__main__":
    main(sys.argv[1:])
