"""The protocol by which the daemon controls an engine; one class per engine implements it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from runtime_configs.model import EngineName
from toolkit.engine.facts import (
    EngineProcess,
    Expectation,
    HandlerRun,
    HoldReport,
    HostFacts,
    ReloadReport,
)
from toolkit.host.clock import Clock
from toolkit.settings import RestartMode


class EngineControl(Protocol):
    """One engine on this node. Deadlines are values of ``clock.now()``; paths are host paths."""

    name: EngineName

    def facts(self, deadline: float) -> HostFacts:
        """Return the engine's present facts; they include why an engine cannot be reached.

        Raises EngineNotFoundError if something other than the engine answers.
        """

    def preflight(self, process: EngineProcess, mode: RestartMode) -> None:
        """Raise EngineNotFoundError if a reload would leave the node without its engine.

        Call it before anything is written. Causes: the process has no supervisor, or systemd cannot
        be reached or would not start its unit.
        """

    def reload(
        self, process: EngineProcess, mode: RestartMode, clock: Clock, deadline: float
    ) -> ReloadReport:
        """Make the engine reload its config and wait until it answers.

        Raises EngineNotFoundError if the process is no longer the engine, EngineTimeoutError if it
        does not answer by the deadline.
        """

    def start(self, process: EngineProcess, clock: Clock, deadline: float) -> ReloadReport:
        """Start an engine that is gone: start its unit, or wait for its supervisor."""

    def verify(self, expected: Expectation, clock: Clock, deadline: float) -> None:
        """Wait until the engine serves what is expected.

        Raises EngineRejectedError at once if the engine reports an error that waiting does not fix
        (its CRI plugin's init error), EngineTimeoutError at the deadline, naming what is missing.
        """

    @abstractmethod
    def run_handlers(
        self, handlers: Sequence[str], clock: Clock, deadline: float
    ) -> tuple[HandlerRun, ...]:
        """Start a sandbox (with Docker, a container) briefly with each handler.

        An empty name is the default handler. Everything created is removed, whatever happens.
        Raises RpcError or another ToolkitError if the remains of an earlier run cannot be removed.
        """

    @abstractmethod
    def held(self, toolkit_dir: str) -> HoldReport:
        """Report the containers, running or not, whose runtime binary is below ``toolkit_dir``.

        Raises ToolkitError if the engine cannot be asked.
        """

    def own_container_running(self, deadline: float) -> bool | None:
        """Return whether the engine reports this process's own container as running.

        None if this process is in none of its containers, or if that is not known.
        """
