"""The program's entry point: signals first, everything else after."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from toolkit.host.clock import block_termination_signals

_SELDOM = 100_000
"""New objects between two searches for cycles."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    # Before the slow imports: a signal that comes during them is taken at the first safe point.
    block_termination_signals()
    _open_standard_streams()
    # A start makes thousands of objects that stay: searching them for cycles takes a tenth of it.
    gc.set_threshold(_SELDOM)
    from toolkit import cli
    from toolkit.commands import ProgramCommands

    name = os.path.basename(sys.argv[0])
    return cli.run(
        sys.argv[1:] if arguments is None else arguments,
        environ=os.environ,
        commands=ProgramCommands(),
        program=cli.PROGRAM if name.startswith("__main__") else name,
    )


def _open_standard_streams() -> None:
    """See to it that descriptors 0 to 2 are open: the next file would else be taken for one."""
    for number, mode in enumerate(("r", "w", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number
            os.set_inheritable(number, True)  # noqa: FBT003 - takes no keyword
            name = ("stdin", "stdout", "stderr")[number]
            setattr(sys, name, open(number, mode, encoding="utf-8"))  # noqa: SIM115 - stays open


def program() -> NoReturn:
    """Run the program and leave at once: taking the interpreter apart first has no use."""
    code = main()
    for stream in (sys.stdout, sys.stderr):
        # A reader that went away has been told of by main.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    program()
