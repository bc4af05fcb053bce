"""The engine in a rollback, recovery or revert: what it serves, what it should, and its reload."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from runtime_configs.model import EffectiveConfig, ServedHandler
from toolkit import logs
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import (
    EngineProcess,
    Expectation,
    HostFacts,
    LackKind,
    ReloadReport,
    Served,
)
from toolkit.engine.verify import shortcomings
from toolkit.engine.wait import LOOK_SECONDS, Deadline, too_slow
from toolkit.errors import EngineRejectedError, EngineTimeoutError, HostPathError, ToolkitError
from toolkit.host.clock import Clock, UninterruptedClock
from toolkit.journal.record import Record
from toolkit.node import Node
from toolkit.request import config_request
from toolkit.settings import RestartMode
from toolkit.undo.aim import Aim, Target
from toolkit.undo.files import restore_files, write_file
from toolkit.undo.k3s_autodetect import drop_unmeetable

log = logs.get(__name__)

COMING_SECONDS = 0.5
"""How long to wait for an engine that is not running: another process may be restarting it."""
POLL_SECONDS = 0.1
INTERIM_SECONDS = 0.7
"""Limit for the live reload of interim contents: after SIGTERM the files are restored within a
second."""
OWN_START_SECONDS = 30.0
"""How long a reload waits for our own container to be reported running."""
OWN_START_POLL = 0.1
OWN_START_SETTLING = 0.5
"""The reload waits this much longer, so that whatever started the container gets its answer."""


def reload_or_start(
    control: EngineControl,
    mode: RestartMode,
    known: EngineProcess | None,
    clock: Clock,
    deadline: float,
) -> ReloadReport:
    """Make the engine load its files: reload it, or start it if the last attempt ended it.

    ``known`` is the process from before; without it a dead engine cannot be started.
    """
    facts = control.facts(deadline)
    if facts.process is not None:
        _await_own_container(control, clock, deadline)
        return control.reload(facts.process, mode, clock, deadline)
    if known is None:
        raise EngineTimeoutError(
            f"the engine at {facts.socket} is not running ({facts.unreachable})",
            "start it; its config on disk is the one from before",
        )
    return control.start(known, clock, deadline)


def _await_own_container(control: EngineControl, clock: Clock, deadline: float) -> None:
    """Wait until the engine reports our own container as running, at most half of the time.

    An engine that is restarted earlier sees a failed start and kills this process.
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


def load_interim(
    node: Node,
    control: EngineControl,
    process: EngineProcess,
    targets: Iterable[Target],
    clock: Clock,
) -> None:
    """Write each interim content and let the engine load it.

    Raises what writing and reload raise.
    """
    for target in targets:
        if target.interim is not None:
            known = (*target.passed, target.content)
            write_file(node, target.record.path, target.interim, target.record.metadata, known)
            control.reload(process, RestartMode.SIGNAL, clock, clock.now() + INTERIM_SECONDS)


def facts_of(control: EngineControl, seconds: float) -> HostFacts | None:
    """Look at the engine; None where that is not possible, which is logged and no error."""
    try:
        return control.facts(UninterruptedClock().now() + seconds)
    except ToolkitError as error:
        log.warning("engine.unreachable", "the engine could not be asked", reason=str(error))
        return None


def settled_facts(control: EngineControl, deadline: float) -> HostFacts | None:
    """Look at the engine until it reports what it serves or the deadline is over; signals wait.

    One that is not running gets a moment to appear: another process may be restarting it, and it
    may have read our files. None where it cannot be looked at.
    """
    clock = UninterruptedClock()
    end = clock.now() + COMING_SECONDS
    while True:
        facts = facts_of(control, LOOK_SECONDS)
        if facts is None or _pending(facts) is None:
            return facts
        if clock.now() >= (end if facts.process is None else deadline):
            return facts
        clock.sleep(POLL_SECONDS)


def _pending(facts: HostFacts) -> str | None:
    """Return why an engine that is still starting serves nothing yet; None for any other."""
    lack = facts.served.lack
    return lack.reason if lack is not None and lack.kind is LackKind.PENDING else None


class GoBackReport(Struct, frozen=True, kw_only=True):
    """What ``go_back`` did."""

    files: tuple[str, ...] = ()
    reloaded: bool = False
    seen: bool = True
    """True if the engine reported what it should serve; False where it is not running."""
    warnings: tuple[str, ...] = ()
    payload: str = "none"
    """What a revert did with the payload: ``removed``, ``kept`` or ``none``."""
    kept_for: tuple[str, ...] = ()
    """The containers that use it."""


def restore_engine(node: Node, aim: Aim, control: EngineControl, by: Deadline) -> GoBackReport:
    """Make the engine serve what its restored files say; reload it only if it does not yet.

    Raises ToolkitError where the engine can't be reloaded or does not serve it in time.
    """
    clock = UninterruptedClock()
    took = logs.stopwatch()
    facts = settled_facts(control, by)
    if aim.known is not None and (facts is None or facts.process is None):
        if control.facts(by).process is None:
            control.start(aim.known, clock, by)
        facts = settled_facts(control, by)
    if facts is None or facts.process is None:
        why = "it could not be reached" if facts is None else str(facts.unreachable)
        warning = f"{control.name} does not run ({why}); files were restored, no reload needed"
        log.warning("engine.absent", warning)
        return GoBackReport(seen=False, warnings=(warning,))
    reason = _pending(facts)
    if reason is not None:
        raise EngineTimeoutError(
            f"{control.name} did not come back within {by.seconds:g} s: {reason}",
            too_slow(by),
        )
    expected = drop_unmeetable(aim.expected, aim.record, node.view)
    reloads = needs_reload(aim, expected, facts)
    if reloads:
        _require_loadable(node, aim, facts)
        _reload(node, aim, control, facts.process, by)
        control.verify(expected, clock, by)
    log.step(
        "engine.verified",
        "the engine serves the earlier handlers"
        if expected.served
        else "the engine does not serve our handlers any more",
        socket=facts.socket,
        seconds=took(),
    )
    return GoBackReport(reloaded=reloads)


def needs_reload(aim: Aim, expected: Expectation, facts: HostFacts) -> bool:
    """Return whether the engine has to be reloaded: by what it serves, else by what was written."""
    if shortcomings(expected, facts.served):
        return True
    return aim.loaded and not _tells_apart(expected, aim.record)


def _tells_apart(expected: Expectation, record: Record) -> bool:
    """Return whether what the engine serves shows if a record's change is in force.

    It does not if the change is only in options of handlers, or in CDI.
    """
    handlers = {
        name: ServedHandler(name=name, binary_path=path, runtime_type=None, table={})
        for name, path in record.handlers
    }
    theirs = EffectiveConfig(handlers=handlers, default=record.default, raw={})
    return bool(shortcomings(expected, Served(config=theirs)))


def _reload(
    node: Node, aim: Aim, control: EngineControl, process: EngineProcess, by: float
) -> None:
    clock = UninterruptedClock()
    if aim.has_interim:
        try:
            load_interim(node, control, process, aim.targets, clock)
        finally:
            restore_files(node, aim)
        return
    mode = node.settings.engines[control.name].restart_mode
    done = reload_or_start(control, mode, aim.known or process, clock, by)
    log.step(
        "engine.reloaded",
        f"{control.name} reloaded its previous config",
        how=done.mode,
        refused_seconds=done.refused,
        seconds=done.answering_after,
    )


def _require_loadable(node: Node, aim: Aim, facts: HostFacts) -> None:
    """Refuse a reload that the engine would not survive because of others' edits.

    Raises EngineRejectedError. If the disk allows no dry run, the reload goes on unchecked.
    """
    from toolkit.dry_run import refusal

    request = config_request(node.settings, facts, node.toolkit_dir)
    try:
        reason = refusal(
            node, facts, request, [(each.record, each.content) for each in aim.targets]
        )
    except HostPathError as error:
        log.warning(
            "config.unchecked", "the engine's binary can't check the files", reason=str(error)
        )
        return
    if reason is not None:
        raise EngineRejectedError(
            f"{facts.executable} refuses them as they are without us: {reason}",
            f"fix the config and run `revert` again; {facts.engine} goes on with our handlers",
        )
