"""The payload's files that k3s and RKE2 detect by themselves at each start, without any config.

While the payload is where they look, they serve its handlers whatever their files say. So a revert
removes it before they are started again. If containers keep it, those handlers stay.
"""

from __future__ import annotations

import posixpath

from msgspec.structs import replace

from runtime_configs.containerd import rancher
from runtime_configs.model import HostView
from toolkit.engine.facts import Expectation
from toolkit.journal.record import Record


def searcher(record: Record, toolkit_dir: str) -> str | None:
    """Return which distribution finds the payload there, ``k3s`` or ``rke2``; None if none does."""
    if toolkit_dir != rancher.SEARCHED:
        return None
    paths = (record.socket, *(each.path for each in record.files))
    return rancher.distribution(paths, unit=record.unit)


def goes_with_payload(
    record: Record, name: str, binary: str, default: str | None, *, restarts: bool
) -> bool:
    """Return whether a served handler is no reason to keep the payload.

    An engine that ``restarts`` starts again without it. Any other may go on with what it has
    loaded: then its default, and handlers that it never finds by itself, still need the payload.
    """
    if searcher(record, posixpath.dirname(binary)) is None:
        return False
    found = name in rancher.FOUND
    return found or (name, binary) in record.handlers if restarts else found and name != default


def drop_unmeetable(expected: Expectation, record: Record, view: HostView) -> Expectation:
    """Drop expectations that k3s and RKE2 cannot meet while the payload is installed.

    They also cannot drop a default that their own options name.
    """
    absent = tuple(
        (name, binary)
        for name, binary in expected.absent
        if not (
            name in rancher.FOUND
            and searcher(record, posixpath.dirname(binary)) is not None
            and view.read(binary) is not None
        )
    )
    needed = any(
        needed_by_option(record, posixpath.dirname(binary), view) for _, binary in record.handlers
    )
    default = None if needed else expected.absent_default
    return replace(expected, absent=absent, absent_default=default)


def needed_by_option(record: Record, toolkit_dir: str, view: HostView) -> str | None:
    """Return the distribution whose own options name a default that only the payload provides.

    Without that handler it does not start.
    """
    name = searcher(record, toolkit_dir)
    if name is None or rancher.named_default(name, view) not in rancher.FOUND:
        return None
    return None if view.read("/usr/bin/nvidia-container-runtime") is not None else name
