"""What counts as served: what the engine reports, can execute and, with ``run``, can start."""

from __future__ import annotations

from runtime_configs.model import EffectiveConfig, EngineName
from toolkit import logs
from toolkit.apply.plan import Plan
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import EngineProcess, Expectation, HandlerRun
from toolkit.engine.verify import executed, handlers_to_run, run_faults
from toolkit.engine.wait import VERIFY_TIMEOUT, Deadline
from toolkit.errors import EngineRejectedError
from toolkit.host.clock import Clock
from toolkit.node import Node
from toolkit.payload.executable import EngineView, unexecutable
from toolkit.settings import Verify

log = logs.get(__name__)

FIX = (
    "let the engine have that file and execute it, or choose another directory with "
    "--toolkit-install-dir"
)


def verify_served(
    node: Node,
    control: EngineControl,
    plan: Plan,
    process: EngineProcess | None,
    *,
    clock: Clock,
    deadline: float | None = None,
) -> None:
    """Wait until the engine serves all that a plan expects; ``process`` is the engine's.

    Without a deadline the engine has ``--verify-timeout`` from now. Raises as
    ``EngineControl.verify`` does. Raises EngineRejectedError for a binary that cannot be executed
    or, with ``--verify=run``, for a handler that starts nothing or the wrong program.
    """
    if deadline is None:
        limit = node.settings.lifecycle.verify_timeout
        deadline = Deadline.after(clock.now(), limit, VERIFY_TIMEOUT)
    control.verify(plan.expected, clock, deadline)
    config = None if plan.facts is None else plan.facts.in_force
    hook = None if plan.request is None else plan.request.hook_binary
    faults = faults_of(view_of(node, control.name, process), plan.expected, config, hook)
    if faults:
        raise EngineRejectedError("; ".join(faults), FIX)
    if node.settings.lifecycle.verify is Verify.RUN:
        _require_started(node, control, plan.expected, clock)


def _require_started(
    node: Node, control: EngineControl, expected: Expectation, clock: Clock
) -> None:
    """Raise EngineRejectedError unless each handler starts what it should."""
    took = logs.stopwatch()
    runs = handler_runs(node, control, expected, clock)
    faults = run_faults(expected, runs)
    if faults:
        raise EngineRejectedError("; ".join(faults), "see the engine's log")
    for each in runs:
        if each.untried:
            log.warning("handler.untried", "a handler was not tried", reason=each.untried)
    started = [each.handler or "the default" for each in runs if not each.untried]
    if started:
        log.step("handler.started", "each handler started something", names=started, seconds=took())


def handler_runs(
    node: Node, control: EngineControl, expected: Expectation, clock: Clock
) -> tuple[HandlerRun, ...]:
    """Start a container through each expected handler, within ``--verify-timeout``."""
    deadline = clock.now() + node.settings.lifecycle.verify_timeout
    return control.run_handlers(handlers_to_run(expected), clock, deadline)


def view_of(node: Node, engine: EngineName, process: EngineProcess | None) -> EngineView:
    """Return the host's files as an engine sees them."""
    return EngineView(engine=engine, process=process, host=node.root, installer=node.installer)


def faults_of(
    view: EngineView,
    expected: Expectation,
    config: EffectiveConfig | None,
    hook: str | None = None,
) -> tuple[str, ...]:
    """Return a line for each expected binary that the engine cannot execute, with the reason.

    ``config`` is what the engine serves: it has the binary of a default handler that is not ours.
    """
    hooks = () if hook is None else (("the OCI hook", hook),)
    return unexecutable(view, (*executed(expected, config), *hooks))
