"""What shows that this process runs: the locked pid file and the ready file.

The journal records the directories made for them, since another process often removes them:
``revert`` after ``--no-daemon``, or the next start after a kill.
"""

from __future__ import annotations

import contextlib
import os
import posixpath

from msgspec.structs import replace

from toolkit import logs
from toolkit.daemon import handover
from toolkit.daemon.keeper_state import Resident
from toolkit.daemon.ready_file import content
from toolkit.errors import HostPathError, LockedError, ToolkitError
from toolkit.host import lock_look
from toolkit.host.clock import Clock
from toolkit.host.lock import Lock
from toolkit.host.writer import FileMetadata
from toolkit.journal.record import Record
from toolkit.node import Node

log = logs.get(__name__)

DECISION_SECONDS = 2.0
"""Added to the stop time-out: time to find the reason for the stop and to restore the files."""
LOOK_SECONDS = 0.1
"""Seconds between two tries to take a lock."""


class Presence:
    """The lock, and the ready file while the handlers are served."""

    def __init__(self, node: Node, lock: Lock) -> None:
        self._node = node
        self.lock = lock
        life = node.settings.lifecycle
        self._ready = node.root.host_path(life.ready_file)
        self._feature = (
            None if life.feature_file is None else node.root.host_path(life.feature_file)
        )
        """Both on the host."""
        self._directories: tuple[str, ...] = ()
        """On the host."""

    @classmethod
    def begun(cls, node: Node) -> Presence:
        """Take the lock.

        Raises LockedError where another instance has it, and HostPathError where a symbolic link is
        in the place of one of our files.
        """
        return cls(node, Lock.acquire(_own_places(node)))

    @classmethod
    def after_predecessor(cls, node: Node, clock: Clock) -> Presence:
        """Take the lock; give a resident daemon with the same journal time to stop.

        A DaemonSet may be replaced just before the next one starts. Raises LockedError where that
        daemon does not stop, and at once where another instance has the lock.
        """
        end = clock.now() + node.settings.lifecycle.stop_timeout + DECISION_SECONDS
        predecessor = None
        while True:
            try:
                return cls.begun(node)
            except LockedError as error:
                if error.holder is None or clock.now() >= end:
                    raise
                if error.holder != predecessor:
                    if not is_predecessor(node, error):
                        raise
                    predecessor = error.holder
                    message = "waiting for the daemon that has the lock to stop"
                    log.step("lock.awaited", message, pid=predecessor)
            clock.sleep(LOOK_SECONDS)

    @classmethod
    def resumed(cls, node: Node, resident: Resident) -> Presence:
        """Go on with the lock that came through an exec, or take it again.

        Raises LockedError where the pid file was removed and another instance took over.
        """
        try:
            lock = Lock.adopt(resident.lock_fd, resident.lock_path, resident.lock_made)
        except ToolkitError as error:
            log.warning("lock.lost", "the pid file is made again", reason=error.message)
            lock = cls._lock_again(resident)
        return cls(node, lock)

    @staticmethod
    def _lock_again(resident: Resident) -> Lock:
        """Take the lock again; where no file can be made, keep the removed one.

        The next look tries again: if this process ended here, nothing would revert the setup.
        """
        try:
            lock = Lock.acquire(resident.lock_path)
        except HostPathError as error:
            log.warning("lock.unmade", "the pid file can't be made again", reason=error.message)
            return Lock(resident.lock_fd, resident.lock_path, resident.lock_made)
        with contextlib.suppress(OSError):
            os.close(resident.lock_fd)
        lock.made = (*resident.lock_made, *lock.made)
        return lock

    @property
    def ready_file(self) -> str:
        """Where this process opens the ready file."""
        return self._node.root.entry(self._ready)

    @property
    def feature_file(self) -> str:
        """Where this process opens the file that labels the node; empty where there is none."""
        return "" if self._feature is None else self._node.root.entry(self._feature)

    def mark_not_ready(self) -> None:
        """Remove the ready file and the node's label.

        Raises HostPathError where the disk refuses, and where a symbolic link is in the place of
        one, as the target is not ours.
        """
        self._node.writer.remove(self._ready, follow=False)
        if self._feature is not None and not self._missing_for(self._feature):
            self._node.writer.remove(self._feature, follow=False)

    def know(self, record: Record | None) -> None:
        """Learn which directories earlier processes made, as the journal may be removed later."""
        if record is not None:
            self._directories = record.run_directories
            self.lock.note_made([self._node.root.access(each) for each in self._directories])

    def mark_ready(self, record: Record) -> Record:
        """Create the ready file; return the record with the directories that were made for it.

        In NRI mode the plugin creates it once it is registered. Raises HostPathError as
        ``mark_not_ready`` does, and where the pid file is gone and cannot be made again.
        """
        if not self.lock.holds():
            raise HostPathError(
                f"there is no pid file at {self.lock.path}, and none can be created",
                "see what is in its directory's place",
            )
        made = [self._node.root.host_of(each) for each in self.lock.made]
        for path in filter(None, (self._ready, self._feature)):
            made += self._missing_for(path)
        self._directories = tuple(dict.fromkeys((*record.run_directories, *made)))
        if self._directories != record.run_directories:
            record = replace(record, run_directories=self._directories)
            self._node.store.commit(record)
        self.lock.note_made(())
        if self._feature is not None:
            self._node.writer.make_directories(posixpath.dirname(self._feature))
        if not self._node.settings.nri.enabled:
            self._node.writer.make_directories(posixpath.dirname(self._ready))
            text = content().encode()
            self._node.writer.write(self._ready, text, FileMetadata(mode=0o644), follow=False)
        return record

    def _missing_for(self, path: str) -> tuple[str, ...]:
        return self._node.writer.missing_directories(posixpath.dirname(path))

    def release(self) -> None:
        """Remove both files and their directories; a failure is logged and stops nothing."""
        self.hide()
        self.unlock()

    def hide(self) -> None:
        """Remove the ready file at the end; a failure is logged."""
        try:
            self.mark_not_ready()
        except ToolkitError as error:
            log.warning("ready.stays", "the ready file could not be removed", reason=str(error))

    def unlock(self) -> None:
        """Remove the pid file and every directory that is empty then; a failure is logged."""
        try:
            self.lock.release()
            for path in sorted(self._directories, key=len, reverse=True):
                self._node.writer.remove_directory(path)
        except ToolkitError as error:
            log.warning("lock.stays", "the pid file stays, unlocked", reason=str(error))


def require_free(node: Node) -> None:
    """Raise the ToolkitError of a start that cannot get its lock or another place of its own.

    Nothing is taken. A daemon with the same journal is no reason: a start that stays waits for it
    to stop, and that daemon has the address for probes.
    """
    life = node.settings.lifecycle
    path = _own_places(node)
    error = lock_look.refusal(path, node.root.proc)
    if error is not None and not is_predecessor(node, error):
        raise error
    if life.health_address is not None and error is None:
        from toolkit.daemon.health import open_listener

        os.close(open_listener(life.health_address, life.health_source))
    require_places(node)


def is_predecessor(node: Node, error: ToolkitError) -> bool:
    """Return whether the lock is held by a daemon that a start waits for."""
    if not isinstance(error, LockedError) or error.holder is None:
        return False
    if node.settings.lifecycle.no_daemon:
        return False
    return handover.install_dir_of(error.holder, node.root.proc) == node.store.install_dir


def require_places(node: Node) -> None:
    """Raise NotWritableError where the files that show readiness cannot be made."""
    life = node.settings.lifecycle
    for each in filter(None, (life.ready_file, life.feature_file)):
        node.writer.require_writable(node.root.host_path(each))


def _own_places(node: Node) -> str:
    """Return where this process opens the pid file.

    Raises HostPathError where a link is in the place of any of our files, as its target is not
    ours.
    """
    life = node.settings.lifecycle
    path = _no_link(node, life.pid_file, "--pid-file")
    _no_link(node, life.ready_file, "--ready-file")
    if life.feature_file is not None:
        _no_link(node, life.feature_file, "--feature-file")
    return path


def _no_link(node: Node, given: str, flag: str) -> str:
    """Return where this process opens one of our files; raises HostPathError for a link."""
    path = node.root.host_path(given)
    place = node.root.entry(path)
    if os.path.islink(place):
        raise HostPathError(
            f"{path} is a symbolic link", f"remove the link or name another file with {flag}"
        )
    return place
