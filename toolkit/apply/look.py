"""Look at an engine until it answers, and explain why it does not."""

from __future__ import annotations

from toolkit import logs
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import HostFacts, LackKind
from toolkit.engine.wait import LOOK_SECONDS, VERIFY_TIMEOUT, Reminder
from toolkit.errors import EngineConfigError, EngineTimeoutError, ToolkitError
from toolkit.host.clock import Clock
from toolkit.node import Node
from toolkit.request import config_request
from toolkit.settings import RestartMode

log = logs.get(__name__)

POLL_SECONDS = 0.1


def look(node: Node, control: EngineControl, clock: Clock, *, patience: float) -> HostFacts:
    """Return the engine's facts once it answers and reports what it serves.

    ``patience`` limits the wait for an engine that does not answer. One that answers has
    ``--verify-timeout`` to report its handlers.
    """
    began, waiting = clock.now(), None
    while True:
        facts = control.facts(clock.now() + LOOK_SECONDS)
        lack, silent = facts.served.lack, silence(node, facts)
        if silent is None or lack is None:
            return facts
        absent = facts.unreachable is not None
        limit = patience if absent else node.settings.lifecycle.verify_timeout
        if clock.now() >= began + limit:
            raise explained(node, facts, silent)
        if waiting is None:
            waiting = Reminder(f"{control.name} to answer", began, limit)
            log.warning(
                "engine.awaited",
                f"{control.name} does not answer yet",
                socket=facts.socket,
                reason=lack.reason,
                up_to_seconds=limit,
            )
        waiting.look(clock.now())
        clock.sleep(POLL_SECONDS)


def refused_node(facts: HostFacts) -> EngineConfigError | None:
    """Return why this node's config files cannot hold the change; None where they can."""
    if facts.refused is None:
        return None
    return EngineConfigError(f"this node can't be set up by its config files: {facts.refused}")


def silence(node: Node, facts: HostFacts) -> EngineTimeoutError | None:
    """Return the error of a wait that the engine does not answer; None where no wait is needed."""
    name, lack = facts.engine, facts.served.lack
    if node.settings.engines[name].restart_mode is RestartMode.NONE or facts.refused is not None:
        return None
    if lack is None or lack.kind is not LackKind.PENDING:
        return None
    if facts.unreachable is None:
        limit = node.settings.lifecycle.verify_timeout
        return EngineTimeoutError(
            f"{name} at {facts.socket} does not say what it serves: {lack.reason}",
            f"see the engine's log; {VERIFY_TIMEOUT} sets the limit of {limit:g} s",
        )
    return EngineTimeoutError(
        f"{name} can't be reached at {facts.socket}: {lack.reason}",
        f"start it, or name its socket with --socket or {name.upper()}_SOCKET",
    )


def explained(node: Node, facts: HostFacts, error: EngineTimeoutError) -> EngineTimeoutError:
    """Return the error, or a better one if the engine's config is what keeps it from starting."""
    if facts.unreachable is None:
        return error
    from toolkit.dry_run import refusal

    request = config_request(node.settings, facts, node.toolkit_dir)
    try:
        why = refusal(node, facts, request, (), stages=False)
    except ToolkitError as refused:
        why = refused.message
    if why is None:
        return error
    # The binary names lines of a copy; a rule of ours names the file itself.
    where = "" if why.startswith("/") else f"{facts.top_level}: "
    return EngineTimeoutError(
        f"{where}{why}; {facts.engine} is not running and would not start with that",
        f"correct it, then start {facts.engine}",
    )
