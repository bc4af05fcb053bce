"""The NRI plugin as a process of its own: ``python -I nri_program.py SOCKET KIND``.

What the process imports is what stays resident in NRI mode.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from toolkit.errors import InterruptedBySignalError
from toolkit.host.clock import SystemClock
from toolkit.host.signals import block_signals
from toolkit.nri.plugin import Plugin

if __name__ == "__main__":
    block_signals()
    path, kind = sys.argv[1:]
    plugin = Plugin(
        index=10,
        namespaces=frozenset({"gpu-operator", "monitoring"}),
        cdi_kind=kind,
        socket=path,
        socket_path=path,
    )
    plugin.start()
    try:
        while True:
            SystemClock().sleep(3600.0)
    except InterruptedBySignalError:
        plugin.stop()
