"""The program's entry point: blocks signals first, then loads everything else.

At the top it imports only what the interpreter brings: a daemon that returns in the middle of an
upgrade of its own files must be able to report that and wait.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

_SELDOM = 100_000
"""New objects between two searches for cycles."""
_RESIDENT = "NVIDIA_TOOLKIT_RESIDENT"
"""Set in a daemon that was idle before, as ``toolkit.daemon.handover`` names it."""
_BROKEN_SINCE = "NVIDIA_TOOLKIT_BROKEN_SINCE"
"""When the program first failed to load, on the monotonic clock."""
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
_GIVEN_UP = 10.0
"""Seconds that a signal to stop waits for a program that can be loaded."""
_NOT_RESTORED = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    _open_standard_streams()
    try:
        # Before the slow imports: a signal during them is handled at the first safe point.
        from toolkit.host.signals import block_signals

        block_signals()
        # A start makes thousands of objects that stay: a tenth of it would be garbage collection.
        gc.set_threshold(_SELDOM)
        _load_records()
        # Imported by name: half of an upgraded module may load and lack these.
        from toolkit.cli import PROGRAM, Commands, run

        if _RESIDENT in os.environ:
            from toolkit.daemon import process

            process.load_all()
    except Exception as error:
        if _RESIDENT not in os.environ:
            raise
        _start_again(error)
    os.environ.pop(_BROKEN_SINCE, None)
    name = os.path.basename(sys.argv[0])
    return run(
        sys.argv[1:] if arguments is None else arguments,
        environ=os.environ,
        commands=Commands(),
        program=PROGRAM if name.startswith("__main__") else name,
    )


def _load_records() -> None:
    """Load msgspec alone.

    It takes two names from ``typing_extensions`` if that is installed. That module imports
    ``inspect`` and so takes as long to load as a bare interpreter; ``typing`` has both names.
    """
    name = "typing_extensions"
    if name in sys.modules or "msgspec" in sys.modules:
        return
    sys.modules[name] = None  # type: ignore[assignment]  # not to be found, as documented
    try:
        import msgspec  # noqa: F401 - everything below uses it
    finally:
        del sys.modules[name]


def _start_again(error: Exception) -> NoReturn:
    """Run the program again a moment later: a half-upgraded one does not run.

    At a signal to stop it ends after a while with exit code 3: the setup stays.
    """
    first = _BROKEN_SINCE not in os.environ
    seconds = time.monotonic() - float(os.environ.setdefault(_BROKEN_SINCE, str(time.monotonic())))
    stopping = any(each in signal.sigpending() for each in _ENDING)
    if stopping and seconds >= _GIVEN_UP:
        _say(f"the program can't be loaded to revert: {error}; run its command `revert` later")
        os._exit(_NOT_RESTORED)
    if first:
        _say(f"cannot load the installer ({error}); retrying")
    time.sleep(1.0)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ)  # noqa: S606


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - the log is what can't be loaded


def _open_standard_streams() -> None:
    """Make sure that descriptors 0 to 2 are open, or the next opened file gets one of them."""
    for number, mode in enumerate(("r", "w", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number
            os.set_inheritable(number, True)  # noqa: FBT003 - takes no keyword
            name = ("stdin", "stdout", "stderr")[number]
            setattr(sys, name, open(number, mode, encoding="utf-8"))  # noqa: SIM115 - stays open


def program() -> NoReturn:
    """Run the program and exit at once, without the interpreter's cleanup."""
    code = main()
    for stream in (sys.stdout, sys.stderr):
        # main has reported a reader that went away.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    program()
