"""The common part of the engines that serve pods over the CRI."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from runtime_configs.model import EffectiveConfig
from toolkit.engine import loading
from toolkit.engine.base import BaseControl
from toolkit.engine.facts import HandlerRun
from toolkit.host.clock import Clock

if TYPE_CHECKING:
    from toolkit.engine.rpc import Connection


class CriControl(BaseControl):
    """An engine whose reload is a restart, which aborts a container that is being started."""

    def own_container_running(self, deadline: float) -> bool | None:
        """Return whether the engine reports this process's own container as running."""
        if self._host.root.root == "/":
            return None
        loading.finish()
        from toolkit.engine.process import own_container

        return own_container.is_running(self._socket.access, self._host.table, deadline)

    def run_handlers(
        self, handlers: Sequence[str], clock: Clock, deadline: float
    ) -> tuple[HandlerRun, ...]:
        """Start a pod sandbox briefly with each handler."""
        loading.finish()
        from toolkit.engine.cri import sandbox_run
        from toolkit.engine.handler_runs import run_each

        config = self._served(deadline).config

        def start(handler: str) -> HandlerRun:
            return sandbox_run.start(
                self._socket.access,
                handler,
                self._cgroup_parent(handler, config),
                binary_of=self._executed,
                clock=clock,
                deadline=deadline,
            )

        return run_each(handlers, start, partial(sandbox_run.sweep, self._socket.access), clock)

    def _answers(self, deadline: float) -> bool:
        loading.finish()
        from toolkit.engine.cri.client import CriClient
        from toolkit.engine.rpc import Connection, RpcError

        with Connection(self._socket.access, deadline) as connection:
            try:
                return CriClient(connection).status().lack is None
            except RpcError as error:
                return error.unimplemented

    @abstractmethod
    def _cgroup_parent(self, handler: str, config: EffectiveConfig | None) -> str:
        """Return the cgroup parent with which a handler's sandbox leaves nothing behind."""

    @abstractmethod
    def _executed(self, connection: Connection, sandbox: str) -> str | None:
        """Return the low-level runtime that was executed for a sandbox; None if not known."""
