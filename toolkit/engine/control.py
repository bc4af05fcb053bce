"""What the daemon asks of an engine, as a protocol: one class an engine fulfils it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from runtime_configs.model import EngineName
from toolkit.engine.answers import Trial
from toolkit.engine.facts import (
    EngineProcess,
    Expectation,
    HoldReport,
    HostFacts,
    ReloadReport,
)
from toolkit.host.clock import Clock
from toolkit.settings import RestartMode


class EngineControl(Protocol):
    """One engine on this node. Deadlines are readings of ``clock.now()``; paths are host paths."""

    name: EngineName

    def facts(self, deadline: float) -> HostFacts:
        """Look at the engine as it is now; the facts say why an engine can't be reached.

        Raises EngineNotFoundError where something else than the engine answers.
        """

    def preflight(self, process: EngineProcess, mode: RestartMode) -> None:
        """Raise EngineNotFoundError where a reload would leave the node without its engine.

        To be asked before anything is written: nobody supervises the process, or systemd can't be
        reached or would not start its unit.
        """

    def reload(
        self, process: EngineProcess, mode: RestartMode, clock: Clock, deadline: float
    ) -> ReloadReport:
        """Make the engine reload its config and wait until it answers.

        Raises EngineNotFoundError where the process is not the engine any more,
        EngineTimeoutError where it does not come back by the deadline.
        """

    def start(self, process: EngineProcess, clock: Clock, deadline: float) -> ReloadReport:
        """Bring an engine back that is gone (its unit is started, a supervisor is waited for)."""

    def verify(self, expected: Expectation, clock: Clock, deadline: float) -> None:
        """Wait until the engine serves what is expected.

        Raises EngineRejectedError at once where it reports an error of its own that waiting won't
        fix (its CRI plugin's init error), EngineTimeoutError at the deadline with what is missing.
        """

    def trials(self, handlers: Sequence[str], clock: Clock, deadline: float) -> tuple[Trial, ...]:
        """Start a sandbox, with Docker a container, through each handler for a moment.

        An empty name is the default handler. Nothing stays, whatever happens. Raises RpcError or
        another ToolkitError where what an earlier run left can't be removed.
        """

    def held(self, toolkit_dir: str) -> HoldReport:
        """Say which containers, running or not, have a binary below ``toolkit_dir`` as runtime."""

    def own_container_running(self, deadline: float) -> bool | None:
        """Say whether the engine reports the container that this process is in as running.

        None where this process is in none of its containers, or where that is not known.
        """
