"""The daemon and `revert` as commands: block signals, look whether this is the first start, run.

A setup and a revert each load their own half of the program when they begin.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from toolkit.daemon import handover, keeper_state
from toolkit.daemon.lock_and_ready import Presence
from toolkit.errors import ExitCode
from toolkit.host.clock import SystemClock
from toolkit.host.signals import block_signals
from toolkit.node import open_node
from toolkit.settings import Settings
from toolkit.undo.recovery import recover

if TYPE_CHECKING:
    from toolkit.undo.engine import GoBackReport


def load_all() -> None:
    """Load all that a worker needs before it acts: an upgrade may replace the program's files."""
    from toolkit.daemon import resumed, stop_reason  # noqa: F401
    from toolkit.journal import memory_copy  # noqa: F401
    from toolkit.undo import revert  # noqa: F401

    descriptor = handover.descriptor_of(os.environ[handover.VARIABLE])
    if descriptor < 0 or handover.read(descriptor)["woken"] != handover.SIGNAL:
        from toolkit.apply import check, served, setup, transaction  # noqa: F401
        from toolkit.daemon import watch  # noqa: F401


def run(settings: Settings) -> ExitCode:
    """Set up, wait, revert. Returns only after the revert or with ``--no-daemon``."""
    block_signals()
    record = keeper_state.taken_over(os.environ)
    node = open_node(settings)
    if record is not None:
        from toolkit.daemon.resumed import ResumedDaemon

        return ResumedDaemon.locked(node, SystemClock(), record).go_on()
    from toolkit.daemon.start import FirstDaemon

    return FirstDaemon.locked(node, SystemClock()).start()


def revert(settings: Settings, *, purge: bool) -> GoBackReport | None:
    """Undo every change in the journal; None where there is none.

    Raises LockedError while a daemon runs.
    """
    block_signals()
    node = open_node(settings)
    presence = Presence.begun(node)
    try:
        presence.mark_not_ready()
        record = recover(node, reverts=True)
        if record is None:
            from toolkit.undo.ownership import named_again

            record = named_again(node)
        presence.know(record)
        from toolkit.undo.revert import revert_record

        return None if record is None else revert_record(node, record, purge=purge)
    finally:
        presence.release()
