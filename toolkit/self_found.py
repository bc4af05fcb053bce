"""What k3s and RKE2 find of the payload by themselves, at each start and without being told.

As long as it lies where they look, they serve its handlers whatever their files say. So on the way
back it goes before they are started anew, and where containers keep it those handlers stay.
"""

from __future__ import annotations

import posixpath
from dataclasses import replace

from runtime_configs.containerd import rancher
from runtime_configs.model import HostView
from toolkit.engine.facts import Expectation
from toolkit.journal import Record


def searcher(record: Record, toolkit_dir: str) -> str | None:
    """Return which distribution finds the payload there, ``k3s`` or ``rke2``; None: none does."""
    if toolkit_dir != rancher.SEARCHED:
        return None
    return rancher.owner(record.unit, (record.socket, *(each.path for each in record.files)))


def finds(record: Record, name: str, binary: str) -> bool:
    """Tell whether a handler may be one that the distribution adds for a binary of ours."""
    directory = posixpath.dirname(binary)
    known = name in rancher.FOUND or (name, binary) in record.handlers
    return known and searcher(record, directory) is not None


def as_far_as_possible(expected: Expectation, record: Record, view: HostView) -> Expectation:
    """Return what can be expected to be gone: not what is found by itself while it is there.

    Nor a default that the distribution's own options name.
    """
    absent = tuple(
        (name, binary)
        for name, binary in expected.absent
        if not (
            name in rancher.FOUND and finds(record, name, binary) and view.read(binary) is not None
        )
    )
    needed = any(
        needed_by_option(record, posixpath.dirname(binary), view) for _, binary in record.handlers
    )
    default = None if needed else expected.absent_default
    return replace(expected, absent=absent, absent_default=default)


def needed_by_option(record: Record, toolkit_dir: str, view: HostView) -> str | None:
    """Return the distribution whose own options name a default that it finds in the payload alone.

    It does not start with one that it does not find.
    """
    name = searcher(record, toolkit_dir)
    if name is None or rancher.named_default(name, view) not in rancher.FOUND:
        return None
    return None if view.read("/usr/bin/nvidia-container-runtime") is not None else name
