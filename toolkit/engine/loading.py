"""Load an engine's client in a thread while the program waits for a disk or another program.

gRPC and its messages take half as long to load as everything else together. Modules that need them
import them as usual, and the import waits for the thread.
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
"""Engine to the slow modules of its client."""
_threads: list[threading.Thread] = []


def begin(engine: EngineName) -> None:
    """Start loading the client of an engine."""
    import threading

    names = of_engine(CLIENTS, engine, "CLIENTS in toolkit/engine/loading.py")
    thread = threading.Thread(target=_load, args=(names,), daemon=True)
    _threads.append(thread)
    thread.start()


def finish() -> None:
    """Wait until everything begun is loaded.

    Call it before importing a different module than the thread: two imports that meet in a cycle
    would give one of them a partially loaded module.
    """
    while _threads:
        _threads.pop().join()


def _load(names: tuple[str, ...]) -> None:
    # The import that needs the module raises the error.
    with contextlib.suppress(Exception):
        for name in names:
            importlib.import_module(name)
