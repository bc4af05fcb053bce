"""What counts as served: what the engine reports, and can execute where it runs."""

from __future__ import annotations

from runtime_configs.model import EffectiveConfig, EngineName
from toolkit.apply.plan import Plan
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import EngineProcess, Expectation
from toolkit.engine.verify import executed
from toolkit.errors import EngineRejectedError
from toolkit.host.clock import Clock
from toolkit.node import Node
from toolkit.payload.executable import EngineView, unexecutable

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
    """Wait until all that a plan expects is served; ``process`` is the engine's that runs now.

    Without a deadline the engine has ``--verify-timeout`` from now on. Raises as
    ``EngineControl.verify`` does, and EngineRejectedError for a binary that can't be executed.
    """
    if deadline is None:
        deadline = clock.now() + node.settings.lifecycle.verify_timeout
    control.verify(plan.expected, clock, deadline)
    config = None if plan.facts is None else plan.facts.in_force
    hook = None if plan.request is None else plan.request.hook_binary
    faults = faults_of(view_of(node, control.name, process), plan.expected, config, hook)
    if faults:
        raise EngineRejectedError("; ".join(faults), FIX)


def view_of(node: Node, engine: EngineName, process: EngineProcess | None) -> EngineView:
    """Return the host's files as an engine sees them."""
    return EngineView(engine=engine, process=process, host=node.root, installer=node.installer)


def faults_of(
    view: EngineView,
    expected: Expectation,
    config: EffectiveConfig | None,
    hook: str | None = None,
) -> tuple[str, ...]:
    """Say which binaries of an expectation the engine can't execute, and why, one line each.

    ``config`` is what the engine serves: it tells the binary of a default handler that is not ours.
    """
    hooks = () if hook is None else (("the OCI hook", hook),)
    return unexecutable(view, (*executed(expected, config), *hooks))
