"""The engine: whether it answers, serves pods, can reload and agrees with others."""

from __future__ import annotations

from collections.abc import Iterator

from runtime_configs.distros.table import row_of
from runtime_configs.formats.values import lookup
from runtime_configs.model import EffectiveConfig, EngineName
from toolkit.apply.look import explained, refused_node, silence
from toolkit.apply.steps import touches_no_engine
from toolkit.engine.facts import HostFacts, Supervisor
from toolkit.engine.process import kubelet
from toolkit.engine.reload import BY_UNIT, Method, method, unit_of
from toolkit.errors import ToolkitError
from toolkit.report.doctor.context import Context
from toolkit.report.doctor.findings import (
    Finding,
    not_looked_at,
    ok,
    problem,
    refused,
    unknown,
    warning,
)
from toolkit.report.doctor.rights import sees_host_processes
from toolkit.settings import RestartMode


def reached(context: Context) -> Iterator[Finding]:
    """Check whether the engine answers."""
    facts = context.facts
    if touches_no_engine(context.node.settings):
        yield ok("engine", "no config of it is touched")
    elif context.engine_error is not None:
        yield refused("engine", context.engine_error)
    elif facts is not None and facts.unreachable is not None:
        message = f"{facts.engine} can't be reached: {facts.unreachable}"
        fix = f"start {facts.engine}, or name its socket with --socket"
        yield _no_answer(context, facts, warning("engine", message, fix))
    elif facts is not None:
        yield ok(
            "engine",
            f"{facts.engine} {facts.shown_version} at {facts.socket}, config {facts.top_level} "
            f"({facts.distribution})",
        )


def distribution(context: Context) -> Iterator[Finding]:
    """Report which distribution owns the engine's config."""
    facts = context.facts
    if facts is None:
        return
    row = row_of(facts.distribution, facts.engine)
    if (error := refused_node(facts)) is not None:
        yield refused("distribution", error)
    else:
        note = f"; {row.note}" if row.note else ""
        yield ok("distribution", f"{row.name}: {facts.top_level} is kept by {row.owner}{note}")


def cri(context: Context) -> Iterator[Finding]:
    """Check whether the engine serves pods, and with which handlers."""
    facts = context.facts
    if facts is None:
        return
    effective = facts.effective
    if effective is not None and effective.disabled is not None:
        yield problem(
            "CRI", effective.disabled, f"remove it from disabled_plugins in {facts.top_level}"
        )
    elif facts.served.config is not None:
        served = facts.served.config
        yield ok("CRI", f"handlers {', '.join(sorted(served.handlers))}; default {served.default}")
    elif facts.unreachable is not None:
        yield not_looked_at("CRI", f"{facts.engine} can't be reached")
    elif facts.served.lack is not None:
        lack = facts.served.lack
        found = warning("CRI", lack.reason, lack.fix or "see the engine's log")
        yield _no_answer(context, facts, found)


def _no_answer(context: Context, facts: HostFacts, found: Finding) -> Finding:
    """Return why the engine does not answer; with restart mode none, no start waits for it."""
    error = silence(context.node, facts)
    if error is not None:
        explanation = explained(context.node, facts, error)
        return problem(
            found.check,
            explanation.message,
            found.fix if explanation is error else explanation.hint,
        )
    mode = context.node.settings.engines[facts.engine].restart_mode
    return found if mode is RestartMode.NONE else problem(found.check, found.message, found.fix)


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


def contradictions(context: Context) -> Iterator[Finding]:
    """Report settings that the running engine contradicts."""
    for each in () if context.facts is None else context.facts.warnings:
        yield warning("settings", each)


def cgroup_driver(context: Context) -> Iterator[Finding]:
    """Compare the kubelet's cgroup driver with the engine's."""
    facts = context.facts
    if facts is None or facts.engine is not EngineName.CONTAINERD:
        return
    driver = kubelet.cgroup_driver(context.processes, context.node.view)
    if driver is None:
        if not sees_host_processes(context.node):
            yield not_looked_at("cgroup driver", "a kubelet can't be seen from here")
    elif driver.unread:
        yield not_looked_at("cgroup driver", driver.unread)
    elif driver.value is None:
        yield unknown(
            "cgroup driver",
            "the kubelet has no setting: from 1.31 on it takes the engine's, before that cgroupfs",
        )
    elif facts.effective is None:
        yield not_looked_at("cgroup driver", f"{facts.engine}'s handlers are not known")
    else:
        yield from same_cgroup_driver(driver.value, facts.effective)


def same_cgroup_driver(wanted: str, effective: EffectiveConfig) -> Iterator[Finding]:
    """Compare the kubelet's cgroup driver with that of containerd's default handler.

    Where they differ, pods get cgroups that nothing cleans up or that systemd removes. CRI-O and
    dockerd have one driver for all handlers, which their handlers do not name.
    """
    handler = effective.handlers.get(effective.default or "")
    if handler is None:
        return
    systemd = lookup(handler.table, ("options", "SystemdCgroup")) is True
    engine = "systemd" if systemd else "cgroupfs"
    if engine == wanted:
        yield ok("cgroup driver", f"the kubelet and handler {handler.name} use {wanted}")
    else:
        yield warning(
            "cgroup driver",
            f"the kubelet uses {wanted}, handler {handler.name} {engine}",
            f"set SystemdCgroup = {str(wanted == 'systemd').lower()} in the options of the "
            "engine's own handler (ours take it over), or change the kubelet's cgroupDriver",
        )
