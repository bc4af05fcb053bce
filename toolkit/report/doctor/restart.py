"""Whether the engine can be made to reload its config."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.apply.setup import touches_no_engine
from toolkit.engine.facts import Supervisor
from toolkit.engine.reload import BY_UNIT, Method, method, unit_of
from toolkit.errors import ToolkitError
from toolkit.report.doctor.context import Context
from toolkit.report.doctor.findings import Finding, not_looked_at, ok, refused
from toolkit.settings import RestartMode


def restart(context: Context) -> Iterator[Finding]:
    """Check whether the engine would return after a restart, without restarting it."""
    node, facts = context.node, context.facts
    if touches_no_engine(node.settings) or not context.signals:
        return
    if facts is None or facts.process is None:
        yield not_looked_at("restart", "the engine's process was not found")
        return
    process, mode = facts.process, node.settings.engines[facts.engine].restart_mode
    if mode is RestartMode.NONE:
        return
    try:
        node.control(facts.engine).preflight(process, mode)
        how = method(facts.engine, process, mode)
    except ToolkitError as error:
        yield refused("restart", error)
        return
    if how in BY_UNIT:
        yield ok("restart", f"{how.value}, {unit_of(facts.engine, process)}")
    elif how is Method.SIGNAL and process.supervisor is Supervisor.PARENT:
        yield ok("restart", f"{how.value}; supervised by parent {process.parent_pid}")
    else:
        yield ok("restart", how.value)
