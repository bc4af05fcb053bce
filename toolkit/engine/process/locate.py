"""The engine's socket and the process behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from runtime_configs.model import EngineName
from toolkit.engine.facts import EngineProcess
from toolkit.engine.process import identity, peer
from toolkit.errors import EngineInvisibleError, EngineNotFoundError
from toolkit.host.paths import HostRoot
from toolkit.host.processes import ProcessFacts, ProcessTable

_GREETINGS = {
    EngineName.CONTAINERD: peer.GRPC_GREETING,
    EngineName.CRIO: peer.GRPC_GREETING,
    EngineName.DOCKER: peer.DOCKER_GREETING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A socket and who is behind it."""

    socket: str
    """On the host."""
    access: str
    """Where this process opens it."""
    process: EngineProcess | None
    unreachable: str | None
    """Why no engine can be asked there at the moment; None where something answers for it."""
    stranger: str | None = None
    """Why the process behind the socket must not be signalled: waiting won't change it."""
    invisible: bool = False
    """It must not be since it is in no PID namespace that is seen from here."""


class Locator:
    """Finds the process behind an engine's socket."""

    def __init__(self, engine: EngineName, root: HostRoot, table: ProcessTable) -> None:
        self._engine = engine
        self._root = root
        self._table = table

    def locate(self, socket: str, deadline: float) -> Located:
        """Look who is behind a socket; ``socket`` is a host path."""
        access = self._root.access(socket)
        try:
            found = peer.identify(access, _GREETINGS[self._engine], deadline)
        except OSError as error:
            why = f"no {self._engine} answers on {socket}: {error.strerror or error}"
            return Located(socket=socket, access=access, process=None, unreachable=why)
        return self.judge(found, socket, access)

    def current(self, socket: str, access: str, deadline: float) -> EngineProcess | None:
        """Return the engine behind the socket now, or None where there is none at the moment."""
        try:
            found = peer.identify(access, _GREETINGS[self._engine], deadline)
        except OSError:
            return None
        return self.judge(found, socket, access).process

    def judge(self, found: peer.Peer, socket: str, access: str) -> Located:
        """Return who is behind a socket, as far as that is known of the one that answers there."""
        none = Located(socket=socket, access=access, process=None, unreachable=None)
        if found.pid == 0:  # else the kernel names it as this PID namespace counts
            why = f"the process behind {socket} can't be seen from this PID namespace"
            return replace(none, stranger=why, invisible=True)
        process = self._table.find(found.pid)
        if process is None or _is_ending(process):
            why = f"the process behind {socket} (PID {found.pid}) went away while it was looked at"
            return replace(none, unreachable=why)
        if process.pid == 1 and not found.spoke:
            return self._behind_init(process, none)
        hidden = process.executable is None and process.on_host is None
        if not hidden and (process.pid == 1 or not identity.is_engine(self._engine, process)):
            why = f"{socket} belongs to {_shown(process)}, not to {self._engine}"
            return replace(none, stranger=why)
        if not process.on_host:
            return replace(none, stranger=_not_the_hosts(process, socket))
        return replace(none, process=self._engine_process(process))

    def _behind_init(self, init: ProcessFacts, none: Located) -> Located:
        """Return the engine for which PID 1 listens (systemd's socket activation)."""
        engines = [
            each
            for each in self._table.all()
            if each.on_host and identity.is_engine(self._engine, each)
        ]
        if len(engines) == 1:
            return replace(none, process=self._engine_process(engines[0]))
        listens = f"{_shown(init)} listens on {none.socket}"
        if engines:
            why = f"{listens}, for one of {len(engines)} {self._engine} processes that run"
            return replace(none, stranger=why)
        return replace(none, unreachable=f"{listens}, and no {self._engine} runs behind it")

    def _engine_process(self, process: ProcessFacts) -> EngineProcess:
        return identity.engine_process(process, self._table, self._root.root)


def _is_ending(process: ProcessFacts) -> bool:
    """Whether it has given its memory up already, and with it its executable and arguments."""
    return process.executable is None and not process.arguments


def _shown(process: ProcessFacts) -> str:
    return f"{process.executable or process.name} (PID {process.pid})"


def _not_the_hosts(process: ProcessFacts, socket: str) -> str:
    """Say why an engine is not touched: neither it nor its containers would see what we install."""
    behind = f"{_shown(process)} behind {socket}"
    if process.on_host is None:
        return f"{behind} may not be looked at; run the container privileged"
    return f"{behind} runs inside a container, not on this host"


def refuse_stranger(located: Located) -> None:
    """Raise EngineNotFoundError where the process behind the socket is not the engine's."""
    if located.stranger is not None and located.invisible:
        fix = "run the container with hostPID: true (docker run --pid=host)"
        raise EngineInvisibleError(located.stranger, fix)
    if located.stranger is not None:
        raise EngineNotFoundError(located.stranger, "check --runtime and --socket")
