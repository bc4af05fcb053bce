"""The engine's socket and the process behind it."""

from __future__ import annotations

from dataclasses import dataclass

from runtime_configs.model import EngineName
from toolkit.engine import identity, peer
from toolkit.engine.facts import EngineProcess
from toolkit.errors import EngineNotFoundError
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
    """Why nothing can be asked there; None where something accepts connections."""
    stranger: str | None = None
    """Why the process behind the socket must not be signalled."""
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
        process, stranger = self._judge(found, socket)
        return Located(
            socket=socket,
            access=access,
            process=process,
            unreachable=None,
            stranger=stranger,
            invisible=found.pid == 0,
        )

    def current(self, socket: str, access: str, deadline: float) -> EngineProcess | None:
        """Return the engine behind the socket now, or None where there is none at the moment."""
        try:
            found = peer.identify(access, _GREETINGS[self._engine], deadline)
        except OSError:
            return None
        return self._judge(found, socket)[0]

    def _judge(self, found: peer.Peer, socket: str) -> tuple[EngineProcess | None, str | None]:
        """Return the engine's process, or why the one behind the socket is not it."""
        process = self._table.find(found.pid) if found.pid > 0 else None
        if process is None:
            return None, (
                f"the process behind {socket} can't be seen from this PID namespace; "
                "run the container with hostPID: true (docker: --pid=host)"
            )
        if process.pid == 1 and (real := self._activated()) is not None:
            process = real
        if process.pid == 1 or not identity.is_engine(self._engine, process):
            shown = process.executable or process.name
            return None, f"{socket} belongs to {shown} (PID {process.pid}), not to {self._engine}"
        if not process.on_host:
            return None, _not_the_hosts(process, socket)
        return identity.engine_process(process, self._table, self._root.root), None

    def _activated(self) -> ProcessFacts | None:
        """Return the engine for which PID 1 listens, where exactly one is there."""
        engines = [
            each
            for each in self._table.all()
            if each.on_host and identity.is_engine(self._engine, each)
        ]
        return engines[0] if len(engines) == 1 else None


def _not_the_hosts(process: ProcessFacts, socket: str) -> str:
    """Say why an engine is not touched: neither it nor its containers would see what we install."""
    shown = f"{process.executable} (PID {process.pid}) behind {socket}"
    if process.on_host is None:
        return f"{shown} may not be looked at; run the container privileged"
    return f"{shown} has another root than the host: it runs in a container"


def refuse_stranger(located: Located) -> None:
    """Raise EngineNotFoundError where the process behind the socket is not the engine's."""
    if located.stranger is not None:
        raise EngineNotFoundError(located.stranger, "check --runtime and --socket")
