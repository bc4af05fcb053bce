"""The NRI plugin as a process of its own: ``python -I -S nri_program.py SOCKET KIND``.

What the process imports is what stays resident in NRI mode.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from toolkit.host.clock import block_termination_signals
from toolkit.nri.plugin import Plugin
from toolkit.settings import NriSettings

if __name__ == "__main__":
    block_termination_signals()
    path, kind = sys.argv[1:]
    settings = NriSettings(
        enabled=True,
        index=10,
        socket=path,
        namespace="gpu-operator",
        management_namespaces=("monitoring",),
    )
    Plugin(settings, cdi_kind=kind, socket_path=path).serve_until_signal()
