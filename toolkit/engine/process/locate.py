"""The engine's socket and the process behind it."""

from __future__ import annotations

import os
import stat

from msgspec import Struct
from msgspec.structs import replace

from runtime_configs.distros.table import DISTRIBUTIONS
from runtime_configs.model import EngineName, HostView
from toolkit.engine.facts import EngineProcess
from toolkit.engine.process import identity, peer
from toolkit.engine.process.known_strangers import Stranger, known_stranger
from toolkit.errors import EngineInvisibleError, EngineNotFoundError
from toolkit.host.given_mounts import NO_HOST_ROOT, own_root_is_container_image
from toolkit.host.paths import HostRoot
from toolkit.host.processes import ProcessFacts, ProcessTable, with_ancestors
from toolkit.settings import GivenPath

_PRIVILEGED = "run the container privileged (docker run --privileged)"
_SHARE_PIDS = "run the container with hostPID: true (docker run --pid=host)"
_REMOVE = "remove it, restart the engine, and mount the socket's directory instead of the socket"


class Located(Struct, frozen=True, kw_only=True):
    """What is behind a socket: an engine, nothing that answers, or a process to leave alone."""

    socket: str
    """On the host."""
    process: EngineProcess | None = None
    unreachable: str | None = None
    """Why no engine answers there now; None if something answers."""
    stranger: Stranger | None = None
    """Why the process behind the socket must not be signalled; waiting does not change it."""

    @property
    def invisible(self) -> bool:
        """Whether something answers that is in no PID namespace visible from here."""
        return self.stranger is not None and self.stranger.invisible

    @property
    def obstacle(self) -> str | None:
        """Why the engine can't be asked or signalled; None if it can be."""
        return self.unreachable if self.stranger is None else self.stranger.why


class EngineSocket:
    """An engine's socket; ``path`` is on the host."""

    def __init__(self, engine: EngineName, path: str, root: HostRoot, table: ProcessTable) -> None:
        self._engine = engine
        self.path = path
        self._root = root
        self._table = table

    @property
    def access(self) -> str:
        """The path at which this process opens it. Raises HostPathError."""
        return self._root.access(self.path)

    def require(self) -> None:
        """Raise EngineNotFoundError if nothing accepts a connection right now."""
        why = peer.refusal(self.access)
        if why is not None:
            raise EngineNotFoundError(self._silence(why))

    def locate(self, deadline: float) -> Located:
        """Identify the process behind the socket. Raises HostPathError."""
        access = self.access
        try:
            found = peer.identify(access, self._engine, deadline)
        except OSError as error:
            if what := _what_else(access):
                stranger = Stranger(why=f"{self.path} is {what}, not a socket", fix=_REMOVE)
                return Located(socket=self.path, stranger=stranger)
            why = self._silence(error.strerror or str(error))
            return Located(socket=self.path, unreachable=why)
        return self.classify(found)

    def _silence(self, why: str) -> str:
        return f"no {self._engine} answers on {self.path}: {why}"

    def own_pids(self, deadline: float) -> frozenset[int]:
        """Return the PIDs of this process and its ancestors, if the engine uses the same numbers.

        Empty outside a container, and in one with its own PID namespace, whose numbers may belong
        to processes of other containers.
        """
        if self._root.root == "/" or self.locate(deadline).process is None:
            return frozenset()
        return with_ancestors(os.getpid(), self._table)

    def classify(self, found: peer.Peer) -> Located:
        """Return what is behind the socket, as far as the answering peer shows."""
        if found.pid == 0:  # 0 for a process that is not visible in this PID namespace
            why = f"the process behind {self.path} can't be seen from this PID namespace"
            stranger = Stranger(why=why, fix=_SHARE_PIDS, invisible=True)
            return Located(socket=self.path, stranger=stranger)
        process = self._table.find(found.pid)
        if process is None or _is_ending(process):
            why = f"the process behind {self.path} (PID {found.pid}) exited while it was inspected"
            return Located(socket=self.path, unreachable=why)
        if process.pid == 1 and not found.spoke:
            return self._behind_init(process)
        return self._engine_or_stranger(process, self._stranger(process))

    def _stranger(self, process: ProcessFacts) -> Stranger | None:
        """Return why a process is left alone; None for the host's engine."""
        known = known_stranger(self._engine, process, self.path)
        if known is not None:
            return known
        hidden = process.executable is None and process.on_host is None
        if not hidden and (process.pid == 1 or not identity.is_engine(self._engine, process)):
            return Stranger(why=f"{self.path} belongs to {_shown(process)}, not to {self._engine}")
        behind = f"{_shown(process)} behind {self.path}"
        if process.on_host is None:
            return Stranger(why=f"{behind} can't be inspected", fix=_PRIVILEGED)
        if not process.on_host:
            # Neither the engine nor its containers would see what we install.
            return Stranger(why=f"{behind} runs inside a container, not on this host")
        return None

    def _behind_init(self, init: ProcessFacts) -> Located:
        """Return the engine for which PID 1 listens (systemd's socket activation)."""
        engines = [
            each
            for each in self._table.all()
            if each.on_host and identity.is_engine(self._engine, each)
        ]
        listens = f"{_shown(init)} listens on {self.path}"
        if not engines:
            why = f"{listens}, and no {self._engine} runs behind it"
            return Located(socket=self.path, unreachable=why)
        if len(engines) > 1:
            why = f"{listens}, for one of {len(engines)} {self._engine} processes that run"
            return Located(socket=self.path, stranger=Stranger(why=why))
        known = known_stranger(self._engine, engines[0], self.path)
        return self._engine_or_stranger(engines[0], known)

    def _engine_or_stranger(self, process: ProcessFacts, stranger: Stranger | None) -> Located:
        if stranger is not None:
            return Located(socket=self.path, stranger=stranger)
        found = identity.engine_process(process, self._table, self._root.root)
        root = f"{self._root.proc}/{process.pid}/root"
        return Located(socket=self.path, process=replace(found, root=root))


def socket_of(
    engine: EngineName, given: GivenPath, root: HostRoot, table: ProcessTable, view: HostView
) -> EngineSocket:
    """Return an engine's socket: the declared one, the kubelet's, or a usual one that answers."""
    if given.declared:
        return EngineSocket(engine, root.host_path(given.path), root, table)
    from toolkit.engine.process import kubelet

    paths = [given.path]
    served = kubelet.endpoint(table, view)
    if served is not None and kubelet.engine_of(served) is engine:
        paths.insert(0, served)
    for row in DISTRIBUTIONS:
        if row.engine is engine:
            paths += row.sockets
    found = next((each for each in paths if peer.refusal(root.access(each)) is None), given.path)
    return EngineSocket(engine, found, root, table)


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
        raise kind(located.stranger.why, located.stranger.fix)


def refuse_without_host_root(located: Located, root: HostRoot) -> None:
    """Raise EngineNotFoundError if no engine is found because this container sees no host."""
    if root.root != "/" or located.process is not None or located.invisible:
        return
    absent = located.stranger is not None or not os.path.lexists(root.access(located.socket))
    if absent and own_root_is_container_image(root.proc):
        raise EngineNotFoundError(*NO_HOST_ROOT)
