"""A copy of the journal in memory, in case the journal is removed while the process is idle.

Without it a repair would take our own change for the state before us, and a revert would find
nothing to do. The copy is in a memfd: it survives exec and uses no memory of the process.
"""

from __future__ import annotations

import os

import msgspec

from toolkit import logs
from toolkit.journal.store import JournalStore

log = logs.get(__name__)


def keep(store: JournalStore, descriptor: int = -1) -> int:
    """Copy the journal as it is now, over any earlier copy; return the copy's descriptor."""
    if descriptor < 0:
        descriptor = os.memfd_create("toolkit-journal", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, msgspec.json.encode(store.export()), 0)
    return descriptor


def restore(store: JournalStore, descriptor: int) -> None:
    """Write the lost parts of the journal again. Raises HostPathError, NewerJournalError."""
    if descriptor < 0:
        return
    content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    if store.restore(msgspec.json.decode(content or b"{}", type=dict[str, bytes])):
        log.warning(
            "journal.restored",
            "the journal was removed or damaged; it is restored from memory",
            path=store.directory,
        )
