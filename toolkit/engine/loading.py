"""Load an engine's client in a thread while the program waits for a disk or another program.

gRPC and its messages take as long to load as half of all the rest. Whoever needs them imports them
as always, and waits for the thread where it is at it.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING

from runtime_configs.model import EngineName, of_engine

if TYPE_CHECKING:
    import threading

CLIENTS = {
    EngineName.CONTAINERD: ("psutil", "toolkit.engine.containerd.api"),
    EngineName.CRIO: ("psutil", "toolkit.engine.crio.api"),
    EngineName.DOCKER: ("psutil",),
}
"""An engine to what is slow to load of what asks it."""
_threads: list[threading.Thread] = []


def begin(engine: EngineName) -> None:
    """Begin to load what asks an engine."""
    import threading

    names = of_engine(CLIENTS, engine, "CLIENTS in toolkit/engine/loading.py")
    thread = threading.Thread(target=_load, args=(names,), daemon=True)
    _threads.append(thread)
    thread.start()


def finish() -> None:
    """Wait until all that was begun is loaded.

    For who enters by another module than the thread: two imports that meet in a circle would give
    one of them a module that is half loaded.
    """
    while _threads:
        _threads.pop().join()


def _load(names: tuple[str, ...]) -> None:
    # What can't be loaded is told where it is needed.
    with contextlib.suppress(Exception):
        for name in names:
            importlib.import_module(name)
