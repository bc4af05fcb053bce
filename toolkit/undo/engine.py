"""Make an engine load its files, whatever state it is in, and say what it has to serve then."""

from __future__ import annotations

from toolkit import logs
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import EngineProcess, Expectation, ReloadReport, Supervisor
from toolkit.errors import EngineRejectedError, EngineTimeoutError
from toolkit.host.clock import Clock
from toolkit.journal.record import Record
from toolkit.settings import RestartMode

log = logs.get(__name__)

OWN_START_SECONDS = 30.0
"""How long a reload waits for our own container to be reported running."""
OWN_START_POLL = 0.1
OWN_START_SETTLING = 0.5
"""How long a reload waits on: whoever started the container is answered after it is reported."""
SETTLING_SECONDS = 1.0
"""How long an engine that came up by itself may take to serve its handlers before it is told."""


def bring_up(
    control: EngineControl,
    mode: RestartMode,
    known: EngineProcess | None,
    clock: Clock,
    deadline: float,
) -> ReloadReport:
    """Make the engine load its files, also one that did not survive the last attempt.

    ``known`` is the process as it was before; without it a dead engine can't be started.
    """
    facts = control.facts(deadline)
    if facts.process is not None:
        _await_own_container(control, clock, deadline)
        return control.reload(facts.process, mode, clock, deadline)
    if known is None:
        raise EngineTimeoutError(
            f"the engine at {facts.socket} does not run ({facts.unreachable})",
            "start it; its config on disk is the one from before",
        )
    return control.start(known, clock, deadline)


def _await_own_container(control: EngineControl, clock: Clock, deadline: float) -> None:
    """Wait until the engine knows that our own container runs, at most half of the time.

    One that is restarted before takes it for a failed start, and ends this very process.
    """
    began = clock.now()
    end = began + min(OWN_START_SECONDS, (deadline - began) / 2)
    waiting = False
    while control.own_container_running(end) is False:
        if clock.now() >= end:
            log.warning("container.starting", "our own container is still not reported running")
            return
        if not waiting:
            waiting = True
            log.step("container.awaited", "our own container is not reported running yet")
        clock.sleep(OWN_START_POLL)
    if waiting:
        clock.sleep(OWN_START_SETTLING)


def bring_back(
    control: EngineControl,
    mode: RestartMode,
    known: EngineProcess | None,
    *,
    expected: Expectation,
    clock: Clock,
    deadline: float,
) -> None:
    """Make the engine serve what its restored files say.

    One that was on its way up meanwhile may have read them a moment before: it is told once more.
    Raises what the reload and the verification raise.
    """
    running = control.facts(deadline).process is not None
    bring_up(control, mode, known, clock, deadline)
    if not running:
        try:
            control.verify(expected, clock, min(deadline, clock.now() + SETTLING_SECONDS))
        except (EngineTimeoutError, EngineRejectedError):
            bring_up(control, mode, known, clock, deadline)
        else:
            return
    control.verify(expected, clock, deadline)


def process_of(record: Record) -> EngineProcess | None:
    """Return what the record knows of the engine, enough to start it; None without a unit."""
    if record.unit is None:
        return None
    return EngineProcess(
        pid=0,
        start_time=0,
        executable="",
        arguments=(),
        supervisor=Supervisor.SYSTEMD,
        unit=record.unit,
        parent_pid=0,
    )


def state_before(record: Record | None, intent: Record) -> Expectation:
    """Return what the engine served when the intent's change began, and serves again.

    Where somebody had edited a file of ours by then, it served what it had loaded before, which its
    files don't give back.
    """
    if record is None or not record.files:
        return without_us(intent)
    start = set(intent.start_handlers or record.handlers)
    absent = tuple(pair for pair in intent.handlers if pair not in start)
    if _edited_by_others(record, intent):
        return Expectation(absent=absent)
    return Expectation(
        served=tuple(pair for pair in record.handlers if pair in start),
        absent=absent,
        default=record.default if intent.start_handlers is None else intent.start_default,
    )


def _edited_by_others(record: Record, intent: Record) -> bool:
    """Tell whether a file did not hold what we had left there when an intent's change began."""
    known = {each.path: each.ours for each in record.files}
    return any(known.get(each.path, each.start) != each.start for each in intent.files)


def without_us(record: Record) -> Expectation:
    """Return what the engine serves once the record's change is gone.

    Which handler is the default then is not ours to say: somebody may have chosen a third one.
    """
    before = set(record.previous_handlers)
    return Expectation(
        absent=tuple(pair for pair in record.handlers if pair not in before),
        absent_default=None if record.default == record.previous_default else record.default,
    )
