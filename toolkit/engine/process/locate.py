"""The engine's socket and the process behind it."""

from __future__ import annotations

import os
import stat

from msgspec import Struct
from msgspec.structs import replace

from runtime_configs.model import EngineName
from toolkit.engine.facts import EngineProcess
from toolkit.engine.process import identity, peer
from toolkit.engine.process.known_strangers import Stranger, known_stranger
from toolkit.errors import EngineInvisibleError, EngineNotFoundError
from toolkit.host.given_mounts import NO_HOST_ROOT, own_root_is_container_image
from toolkit.host.paths import HostRoot
from toolkit.host.processes import ProcessFacts, ProcessTable, with_ancestors

_PRIVILEGED = "run the container privileged (docker run --privileged)"
_SHARE_PIDS = "run the container with hostPID: true (docker run --pid=host)"
_REMOVE = "remove it, restart the engine, and mount the socket's directory instead of the socket"


class Located(Struct, frozen=True, kw_only=True):
    """A socket and the process behind it."""

    socket: str
    """On the host."""
    access: str
    """The path at which this process opens it."""
    process: EngineProcess | None
    unreachable: str | None
    """Why no engine answers there now; None if something answers."""
    stranger: str | None = None
    """Why the process behind the socket must not be signalled; waiting does not change it."""
    fix: str = ""
    """How to fix that."""
    invisible: bool = False
    """Whether it is because the process is in no PID namespace visible from here."""


class Locator:
    """Finds the process behind an engine's socket."""

    def __init__(self, engine: EngineName, root: HostRoot, table: ProcessTable) -> None:
        self._engine = engine
        self._root = root
        self._table = table

    def locate(self, socket: str, deadline: float) -> Located:
        """Identify the process behind a socket; ``socket`` is a host path."""
        access = self._root.access(socket)
        try:
            found = peer.identify(access, peer.greeting_of(self._engine), deadline)
        except OSError as error:
            none = Located(socket=socket, access=access, process=None, unreachable=None)
            if what := _what_else(access):
                return replace(none, stranger=f"{socket} is {what}, not a socket", fix=_REMOVE)
            why = f"no {self._engine} answers on {socket}: {error.strerror or error}"
            return replace(none, unreachable=why)
        return self.classify(found, socket, access)

    def current(self, socket: str, access: str, deadline: float) -> EngineProcess | None:
        """Return the engine behind the socket now, or None if there is none."""
        try:
            found = peer.identify(access, peer.greeting_of(self._engine), deadline)
        except OSError:
            return None
        return self.classify(found, socket, access).process

    def own_pids(self, socket: str, access: str, deadline: float) -> frozenset[int]:
        """Return the PIDs of this process and its ancestors, if the engine uses the same numbers.

        Empty outside a container, and in one with its own PID namespace, whose numbers may belong
        to processes of other containers.
        """
        if self._root.root == "/" or self.current(socket, access, deadline) is None:
            return frozenset()
        return with_ancestors(os.getpid(), self._table)

    def classify(self, found: peer.Peer, socket: str, access: str) -> Located:
        """Return the process behind a socket, as far as the answering peer shows."""
        none = Located(socket=socket, access=access, process=None, unreachable=None)
        if found.pid == 0:  # 0 for a process that is not visible in this PID namespace
            why = f"the process behind {socket} can't be seen from this PID namespace"
            return replace(none, stranger=why, fix=_SHARE_PIDS, invisible=True)
        process = self._table.find(found.pid)
        if process is None or _is_ending(process):
            why = f"the process behind {socket} (PID {found.pid}) exited while it was inspected"
            return replace(none, unreachable=why)
        if process.pid == 1 and not found.spoke:
            return self._behind_init(process, none)
        stranger = self._stranger(process, socket)
        if stranger is not None:
            return replace(none, stranger=stranger.why, fix=stranger.fix)
        return replace(none, process=self._engine_process(process))

    def _stranger(self, process: ProcessFacts, socket: str) -> Stranger | None:
        """Return why a process is left alone; None for the host's engine."""
        known = known_stranger(self._engine, process, socket)
        if known is not None:
            return known
        hidden = process.executable is None and process.on_host is None
        if not hidden and (process.pid == 1 or not identity.is_engine(self._engine, process)):
            return Stranger(why=f"{socket} belongs to {_shown(process)}, not to {self._engine}")
        behind = f"{_shown(process)} behind {socket}"
        if process.on_host is None:
            return Stranger(why=f"{behind} can't be inspected", fix=_PRIVILEGED)
        if not process.on_host:
            # Neither the engine nor its containers would see what we install.
            return Stranger(why=f"{behind} runs inside a container, not on this host")
        return None

    def _behind_init(self, init: ProcessFacts, none: Located) -> Located:
        """Return the engine for which PID 1 listens (systemd's socket activation)."""
        engines = [
            each
            for each in self._table.all()
            if each.on_host and identity.is_engine(self._engine, each)
        ]
        if len(engines) == 1:
            known = known_stranger(self._engine, engines[0], none.socket)
            if known is not None:
                return replace(none, stranger=known.why, fix=known.fix)
            return replace(none, process=self._engine_process(engines[0]))
        listens = f"{_shown(init)} listens on {none.socket}"
        if engines:
            several = Stranger(
                why=f"{listens}, for one of {len(engines)} {self._engine} processes that run"
            )
            return replace(none, stranger=several.why, fix=several.fix)
        return replace(none, unreachable=f"{listens}, and no {self._engine} runs behind it")

    def _engine_process(self, process: ProcessFacts) -> EngineProcess:
        found = identity.engine_process(process, self._table, self._root.root)
        return replace(found, root=f"{self._root.proc}/{process.pid}/root")


def _is_ending(process: ProcessFacts) -> bool:
    """Return whether the process has released its memory, and with it executable and arguments."""
    return process.executable is None and not process.arguments


def _shown(process: ProcessFacts) -> str:
    return f"{process.executable or process.name} (PID {process.pid})"


def _what_else(path: str) -> str | None:
    """Return what is at a socket's path instead; None for a socket, or for nothing.

    Docker creates a directory for a mount source that does not exist.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return None
    if stat.S_ISSOCK(mode):
        return None
    return "a directory" if stat.S_ISDIR(mode) else "a file"


def refuse_stranger(located: Located) -> None:
    """Raise EngineNotFoundError if the process behind the socket is not the engine."""
    if located.stranger is not None:
        kind = EngineInvisibleError if located.invisible else EngineNotFoundError
        raise kind(located.stranger, located.fix)


def refuse_without_host_root(located: Located, root: HostRoot) -> None:
    """Raise EngineNotFoundError if no engine is found because this container sees no host."""
    if root.root != "/" or located.process is not None or located.invisible:
        return
    absent = located.stranger is not None or not os.path.lexists(located.access)
    if absent and own_root_is_container_image(root.proc):
        raise EngineNotFoundError(*NO_HOST_ROOT)
