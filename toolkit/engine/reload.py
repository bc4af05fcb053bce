"""Make an engine reload its config: by signal, by its unit, or by leaving that to its owner."""

from __future__ import annotations

import signal
from collections.abc import Callable
from enum import StrEnum

from runtime_configs.model import EngineName, of_engine
from toolkit.engine import wait
from toolkit.engine.facts import EngineProcess, ReloadReport, Supervisor
from toolkit.engine.process import identity
from toolkit.errors import EngineNotFoundError, EngineTimeoutError
from toolkit.host.clock import Clock
from toolkit.host.processes import Signaller
from toolkit.host.services import Services
from toolkit.settings import RestartMode

_BETWEEN_LOOKS = 0.005
"""Seconds between looks at the socket of an engine that starts. A look takes 0.03 ms, less than one
percent of a core, which the engine needs.
"""
_DYING = 10.0
"""Seconds that a process may take to end after SIGHUP; containerd takes 3 to 29 ms (1.6 to 2.3)."""


class Method(StrEnum):
    """How one engine on one node is reloaded."""

    SIGNAL_THEN_UNIT = "SIGHUP, then its unit started at once"
    SIGNAL = "SIGHUP"
    UNIT = "restart of its unit"
    OWNER = "left to the distribution, which restarts it by itself"
    LIVE = "SIGHUP, a live reload"


class HangUp(StrEnum):
    """What an engine does at SIGHUP."""

    ENDS = "ends, and whoever supervises it starts it with the new config"
    RELOADS = "reloads its config and serves it"
    KEEPS = "goes on with the config that it has"


AT_HANG_UP = {
    EngineName.CONTAINERD: HangUp.ENDS,
    EngineName.CRIO: HangUp.KEEPS,
    EngineName.DOCKER: HangUp.RELOADS,
}
BY_UNIT = (Method.UNIT, Method.SIGNAL_THEN_UNIT)
"""The methods that need systemd."""


def method(engine: EngineName, process: EngineProcess, mode: RestartMode) -> Method:
    """Choose the method; raises EngineNotFoundError where nothing would start the engine again."""
    if mode is RestartMode.SYSTEMD:
        return Method.UNIT
    hang_up = of_engine(AT_HANG_UP, engine, "AT_HANG_UP in toolkit/engine/reload.py")
    if hang_up is HangUp.RELOADS:
        return Method.LIVE
    if mode is RestartMode.SIGNAL:
        # SIGHUP to their child makes k3s and RKE2 exit as a whole, at an unplanned moment.
        return Method.UNIT if identity.is_child_of_its_unit(process) else Method.SIGNAL
    if process.supervisor is Supervisor.SELF:
        return Method.OWNER
    if process.supervisor is Supervisor.SYSTEMD:
        child = identity.is_child_of_its_unit(process)
        keeps = hang_up is HangUp.KEEPS
        return Method.UNIT if child or keeps else Method.SIGNAL_THEN_UNIT
    if hang_up is HangUp.ENDS and process.supervisor is Supervisor.PARENT:
        return Method.SIGNAL
    raise EngineNotFoundError(
        f"{engine} (PID {process.pid}) belongs to no systemd unit"
        + ("" if hang_up is HangUp.KEEPS else " and no parent would start it again"),
        "name how it is restarted with --restart-mode (systemd, signal or none)",
    )


def unit_of(engine: EngineName, process: EngineProcess) -> str:
    """Return the unit to restart: the owner of the process, else the engine's usual one."""
    return process.unit or f"{engine}.service"


class Restarter:
    """Restarts one engine and measures how long its socket refused connections."""

    def __init__(
        self,
        engine: EngineName,
        signaller: Signaller,
        services: Services,
        clock: Clock,
        *,
        watch: Callable[[], tuple[bool, EngineProcess | None]],
        answers: Callable[[float], bool],
    ) -> None:
        """Set the parts.

        ``watch`` returns whether the socket takes connections and which engine is behind it;
        ``answers`` whether the engine answers its API, given a deadline.
        """
        self._engine = engine
        self._signaller = signaller
        self._services = services
        self._clock = clock
        self._watch = watch
        self._answers = answers

    def restart(self, process: EngineProcess, how: Method, deadline: float) -> ReloadReport:
        """Restart the engine and wait until a new process of it answers."""
        unit = unit_of(self._engine, process)
        if how in BY_UNIT:
            # At most half of the time: the restart itself needs the rest.
            self._services.prepare(unit, (deadline - self._clock.now()) / 2)
        began = self._clock.now()
        gone: float | None = None
        if how in (Method.SIGNAL, Method.SIGNAL_THEN_UNIT):
            gone = self._end(process, deadline)
        # No safe point in between: an interruption here would leave the node without an engine.
        if how in BY_UNIT:
            self._services.restart(unit, deadline - self._clock.now())
        try:
            return self._report(process, how, (began, gone), deadline)
        except EngineTimeoutError:
            if how is Method.SIGNAL and process.unit is not None:
                self._start(process.unit, deadline)
            raise

    def start(self, process: EngineProcess, deadline: float) -> ReloadReport:
        """Start an engine that is gone: by its unit, or wait for its supervisor to do so."""
        began = self._clock.now()
        how = Method.OWNER
        if process.supervisor is Supervisor.SYSTEMD and process.unit is not None:
            self._start(process.unit, deadline)
            how = Method.UNIT
        return self._report(None, how, (began, began), deadline)

    def _start(self, unit: str, deadline: float) -> None:
        self._services.prepare(unit, (deadline - self._clock.now()) / 2)
        self._services.start(unit, deadline - self._clock.now())

    def _end(self, process: EngineProcess, deadline: float) -> float | None:
        """Send SIGHUP and wait until the process has ended; return when it had."""
        handle = self._signaller.hold(process.pid, process.start_time)
        try:
            handle.signal(signal.SIGHUP)
            ended = handle.wait_gone(min(_DYING, deadline - self._clock.now()))
            return self._clock.now() if ended else None
        finally:
            handle.close()

    def _report(
        self,
        old: EngineProcess | None,
        how: Method,
        times: tuple[float, float | None],
        deadline: float,
    ) -> ReloadReport:
        began, refused_from = times

        def look() -> EngineProcess | None:
            nonlocal refused_from
            accepting, process = self._watch()
            if not accepting and refused_from is None:
                refused_from = self._clock.now()
            known = None if old is None else (old.pid, old.start_time)
            is_new = process is not None and (process.pid, process.start_time) != known
            return process if is_new else None

        what = f"{self._engine} to come back"
        process = wait.until(look, self._clock, deadline, what, every=_BETWEEN_LOOKS)
        if process is None:
            raise self._absent(how, old, began, deadline)
        back = self._clock.now()
        what = f"{self._engine} to answer its API"
        if wait.until(lambda: self._answers(deadline) or None, self._clock, deadline, what) is None:
            raise EngineTimeoutError(
                f"{self._engine} (PID {process.pid}) came back but does not answer its API",
                wait.too_slow(deadline),
            )
        return ReloadReport(
            mode=how.value,
            process=process,
            refused=back - refused_from if refused_from is not None else 0.0,
            answering_after=self._clock.now() - began,
        )

    def _absent(
        self, how: Method, old: EngineProcess | None, began: float, deadline: float
    ) -> EngineTimeoutError:
        unit = None if old is None else old.unit
        log = f"`journalctl -u {unit}` on the host" if unit else "the engine's log"
        hint = wait.too_slow(deadline, log)
        limit = deadline.seconds if isinstance(deadline, wait.Deadline) else deadline - began
        return EngineTimeoutError(
            f"{self._engine} did not come back within {limit:g} s ({how.value})", hint
        )
