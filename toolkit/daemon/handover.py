"""The record that the daemon and the keeper hand to each other, and the keeper's way back.

The record is a dictionary in a memfd, which survives an exec and has no largest size. The
environment names it: ``PID:DESCRIPTOR:INSTALL DIRECTORY``. By the PID a process knows its own
record from one that its parent left in the environment; by the directory another instance knows
whether this one has the same journal.

Standard library C modules only, as ``toolkit.daemon.keeper``.
"""

import marshal
import posix
import sys
import time

TYPE_CHECKING = False
"""The constant of ``typing``, without loading that module."""
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from toolkit.daemon.keeper_state import Watch

PACKAGES = __file__.rpartition("/")[0].rpartition("/")[0].rpartition("/")[0]
PROGRAM = PACKAGES + "/toolkit/__main__.py"
VARIABLE = "NVIDIA_TOOLKIT_RESIDENT"
MARSHAL_VERSION = 2
"""Every Python reads it: an upgrade may bring another one between two execs."""
SIGNAL = "signal"
"""The reason to become the daemon where a signal asks for a stop."""
DRIVER = "driver"
"""The start of the reason where only the CDI spec has to be made again."""
RETURN_SECONDS = 10.0
"""How long a signal to stop waits for the program to return."""


def own() -> str:
    """Return the variable's value as it was when this process began; empty without one."""
    return posix.environ.get(VARIABLE.encode(), b"").decode(errors="surrogateescape")


def descriptor_of(value: str) -> int:
    """Return the record's descriptor; -1 where the variable is not set or another process's."""
    pid, _, rest = value.partition(":")
    return int(rest.partition(":")[0]) if pid == str(posix.getpid()) else -1


def install_dir_of(pid: int, proc: str = "/proc") -> str | None:
    """Return the install directory of a resident daemon; None for any other process.

    The kernel shows the environment of the last exec.
    """
    try:
        with open(f"{proc}/{pid}/environ", "rb") as file:
            variables = dict(each.partition(b"=")[::2] for each in file.read().split(b"\0"))
    except OSError:
        return None
    value = variables.get(VARIABLE.encode(), b"").decode(errors="surrogateescape")
    earlier = earlier_record(value)
    if earlier is not None:
        return earlier.get("install_dir") if earlier.get("pid") == pid else None
    owner, _, rest = value.partition(":")
    return rest.partition(":")[2] if owner == str(pid) else None


def earlier_record(value: str) -> "dict[str, Any] | None":
    """Return the record of 0.1.0, which was the variable's value, in JSON; None for any other."""
    if not value.startswith("{"):
        return None
    import json  # the daemon alone reads it, and only after an upgrade

    try:
        found: dict[str, Any] = json.loads(value)
    except ValueError:
        return None
    return found


def write(record: "dict[str, Any]", descriptor: int = -1) -> int:
    """Write a record, over an earlier one if there is one; return its descriptor.

    Every program that this process executes inherits it.
    """
    if descriptor < 0:
        descriptor = posix.memfd_create("toolkit-resident", 0)
    posix.ftruncate(descriptor, 0)
    posix.pwrite(descriptor, marshal.dumps(record, MARSHAL_VERSION), 0)
    return descriptor


def read(descriptor: int) -> "dict[str, Any]":
    """Return the record."""
    content = posix.pread(descriptor, posix.fstat(descriptor).st_size, 0)
    found: dict[str, Any] = marshal.loads(content)  # noqa: S302 - this process wrote it
    return found


def note(reason: str) -> None:
    """Add to this process's record why it becomes the daemon."""
    descriptor = descriptor_of(own())
    write({**read(descriptor), "woken": reason}, descriptor)


def become(watch: "Watch", reason: str, wait: "Callable[[float], bool]") -> None:
    """Exec back into the daemon with the reason; does not return.

    Waits for a program that is missing, as in the middle of an upgrade; ``wait`` returns whether a
    signal is pending. At a signal the wait ends with exit code 3, as the setup stays.
    """
    logged = False
    end = time.monotonic() + RETURN_SECONDS
    while True:
        note(reason)
        try:
            posix.stat(PROGRAM)
            posix.execv(watch.command[0], watch.command)
        except OSError as error:
            why = error.strerror or ""
            if reason == SIGNAL and time.monotonic() >= end:
                tell(watch.stuck, why)
                posix._exit(3)  # noqa: SLF001 - the module's name for it
            if not logged:
                logged = True
                tell(watch.away, why)
        if reason == SIGNAL:
            time.sleep(0.1)
        elif wait(1.0):
            reason, end = SIGNAL, time.monotonic() + RETURN_SECONDS


def program(watch: "Watch") -> "Callable[[], None] | None":
    """Load the daemon into this same process, without a second interpreter; return what runs it.

    None where it cannot be loaded like this: ``become`` then starts it as at first.
    """
    import importlib

    note(SIGNAL)
    sys.path[:], sys.argv[:] = [*watch.search_path, PACKAGES], watch.arguments
    sys.orig_argv[:] = watch.command
    for name in list(sys.modules):
        if name.partition(".")[0] == "toolkit":  # an upgrade may have come since it was loaded
            del sys.modules[name]
    try:  # by its name, as ``become`` starts it by its path
        found: Callable[[], None] = importlib.import_module("toolkit.__main__").program
    except Exception:  # noqa: BLE001 - whatever a half-written program raises, ``become`` waits for it
        return None
    return found


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
