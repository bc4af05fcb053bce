"""The program's entry point: signals first, everything else after."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from toolkit.host.clock import block_termination_signals


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    # Before the slow imports: a signal that comes during them is taken at the first safe point.
    block_termination_signals()
    from toolkit import cli
    from toolkit.commands import ProgramCommands

    name = os.path.basename(sys.argv[0])
    return cli.run(
        sys.argv[1:] if arguments is None else arguments,
        environ=os.environ,
        commands=ProgramCommands(),
        program=cli.PROGRAM if name.startswith("__main__") else name,
    )


if __name__ == "__main__":
    sys.exit(main())
