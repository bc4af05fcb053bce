"""What the checks use: the journal, the engine's facts and the plan of a setup."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from runtime_configs.model import EngineName
from toolkit.apply.plan import Plan
from toolkit.apply.steps import touches_no_engine
from toolkit.daemon.lock_and_ready import require_free
from toolkit.engine.facts import HostFacts
from toolkit.engine.wait import LOOK_SECONDS
from toolkit.errors import HostPathError, ToolkitError
from toolkit.host.clock import UninterruptedClock
from toolkit.host.processes import ProcessTable
from toolkit.journal.record import Record
from toolkit.node import Node, choose_engine
from toolkit.report.preview import Preview, preview
from toolkit.settings import CrioMode, RestartMode


class Context(Struct, frozen=True, kw_only=True):
    """The state of the host, read once for all checks."""

    node: Node
    processes: ProcessTable
    record: Record | None = None
    intent: Record | None = None
    journal_error: ToolkitError | None = None
    facts: HostFacts | None = None
    """None also where a setup looks at no engine."""
    engine_error: ToolkitError | None = None
    """Why there are no facts."""
    preview: Preview | None = None
    plan_error: ToolkitError | None = None
    """Why there is no plan, or the error of a start that has one."""
    place_error: ToolkitError | None = None
    """Why a start would not get its lock or another place of its own."""

    @property
    def plan(self) -> Plan | None:
        """What a start would write and reload."""
        return None if self.preview is None else self.preview.plan

    @property
    def engines(self) -> tuple[EngineName, ...]:
        """The engines that a setup may choose; none where no engine is touched."""
        settings = self.node.settings
        if touches_no_engine(settings):
            return ()
        if self.facts is not None:
            return (self.facts.engine,)
        return tuple(settings.engines) if settings.runtime is None else (settings.runtime,)

    @property
    def signals(self) -> bool:
        """Whether a setup has to reach the engine's process."""
        if self.hooks_alone and not (self.plan is not None and self.plan.reload.needed):
            return False
        modes = [self.node.settings.engines[each].restart_mode for each in self.engines]
        return any(each is not RestartMode.NONE for each in modes)

    @property
    def hooks_alone(self) -> bool:
        """Whether CRI-O gets the toolkit by a hook alone, which it reads without a reload."""
        crio = self.node.settings.crio
        return self.engines == (EngineName.CRIO,) and crio.mode is CrioMode.HOOK


def look(node: Node) -> Context:
    """Look at the host; the result names what could not be read."""
    context = Context(node=node, processes=ProcessTable(node.root.proc, node.root.root))
    try:
        require_free(node)
    except ToolkitError as error:
        context = replace(context, place_error=error)
    try:
        context = replace(context, record=node.store.load(), intent=node.store.load_intent())
    except ToolkitError as error:
        return _with_facts(replace(context, journal_error=error))
    try:
        found = preview(node)
    except ToolkitError as error:
        return _with_facts(replace(context, plan_error=error))
    except OSError as error:
        failure = HostPathError(f"{error.filename}: {error.strerror}")
        return _with_facts(replace(context, plan_error=failure))
    return replace(context, preview=found, plan_error=found.refusal, facts=found.plan.facts)


def _with_facts(context: Context) -> Context:
    """Add the engine's facts where the plan has none."""
    node = context.node
    if touches_no_engine(node.settings):
        return context
    try:
        control = node.control(choose_engine(node, context.record).name)
        facts = control.facts(UninterruptedClock().now() + LOOK_SECONDS)
    except ToolkitError as error:
        return replace(context, engine_error=error)
    return replace(context, facts=facts)
