"""Let the engine check a plan before a live file changes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from runtime_configs.adapter import ConfigRequest, EngineAdapter
from runtime_configs.model import ConfigError, EffectiveConfig, EngineName, FileEdit
from toolkit import logs
from toolkit.apply.plan import Plan
from toolkit.dry_run import DryRuns, Loaded, dry_runs
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import HostFacts, Served
from toolkit.engine.verify import shortcomings
from toolkit.errors import EngineConfigError, EngineRejectedError
from toolkit.node import Node

log = logs.get(__name__)

_PATH = re.compile(r"/[^\s:'\"]+")
_UNTOUCHED = "nothing was written"
_PENDING = "an edit by others was never loaded and takes effect with the next reload"


def require_possible(node: Node, plan: Plan, control: EngineControl | None) -> None:
    """Check for what would stop a plan halfway: no way to reload the engine, a read-only file.

    Raises EngineNotFoundError, NotWritableError.
    """
    process = None if plan.facts is None else plan.facts.process
    if control is not None and process is not None and plan.reload.needed:
        control.preflight(process, plan.reload.mode)
    for path in _written(node, plan):
        node.writer.require_writable(path)


def _written(node: Node, plan: Plan) -> Iterator[str]:
    """Return every path that is written, removed or replaced."""
    yield from (each.path for each in plan.differing)
    yield from (each.path for each in node.installer.cdi.planned())
    if plan.payload.changes:
        yield plan.payload.toolkit_dir
    if not plan.nothing_to_do:
        yield node.store.path


def check_plan(node: Node, plan: Plan) -> None:
    """Let the engine check the result of a plan that writes one of its files or reloads it.

    Raises EngineRejectedError, EngineConfigError.
    """
    if plan.differing or plan.reload.needed:
        for line in _checked(node, plan, stages=True):
            log.warning("config.pending", f"{_PENDING}: {line}")


def pending_edits(node: Node, plan: Plan, *, stages: bool) -> tuple[str, ...]:
    """Return the edits by others that the engine has not loaded and will load at its next reload.

    Without ``stages`` nothing is written on the host, not even temporarily. If the plan has no
    reload, an edit that the engine would not start with is returned too. Otherwise such an edit
    raises EngineRejectedError or EngineConfigError.
    """
    try:
        return _checked(node, plan, stages=stages)
    except (EngineConfigError, EngineRejectedError) as error:
        if plan.differing or plan.reload.needed:
            raise
        return (f"{error.message}; the engine runs on with what it loaded before",)


def _checked(node: Node, plan: Plan, *, stages: bool) -> tuple[str, ...]:
    """Let the engine load the result and start on it; return the pending edits.

    The result is compared with what the files mean without us: only the settings that the plan
    wants may differ.
    """
    facts, request = plan.facts, plan.request
    if facts is None or request is None:
        return ()
    took = logs.stopwatch()
    edits = [each.edit for each in plan.differing]
    base = [each.edit_to_base for each in plan.changes]
    with dry_runs(node, facts, request, stages=stages) as runs:
        missing = runs.missing(edits)
        if missing is not None:
            raise EngineConfigError(
                f"{missing}: {facts.engine} would not start again",
                f"create that file or remove the import; {_UNTOUCHED}",
            )
        runs.run_ahead(edits, base)
        before = _require_loadable(runs, facts, plan, request, node.adapter(facts.engine))
        refused = runs.refused(edits)
        if refused is not None:
            raise EngineRejectedError(f"{_rejection(runs, facts, base)}: {refused}", _UNTOUCHED)
    log.debug("config.tried", "the engine starts on the result", seconds=took())
    return _pending(node, plan, facts, request, before)


def _pending(
    node: Node,
    plan: Plan,
    facts: HostFacts,
    request: ConfigRequest,
    before: EffectiveConfig | None,
) -> tuple[str, ...]:
    """Compare the settings in force with the files without us, where both are known."""
    live, adapter = facts.served.config, node.adapter(facts.engine)
    if facts.engine is EngineName.DOCKER:
        named = {each.path: each.base for each in plan.changes}
        content = named.get(facts.top_level) or node.view.read(facts.top_level)
        before = adapter.effective(content or b"")
    if live is None or before is None:
        return ()
    return adapter.pending(live, before, request)


def _rejection(runs: DryRuns, facts: HostFacts, base: Sequence[FileEdit]) -> str:
    """Return whose files the engine rejects: its own, or those with our change."""
    program = facts.executable or facts.engine.value
    before = runs.loaded(base)
    if (before is not None and before.refused) or runs.refused(base) is not None:
        return f"{program} refuses this file as it is without us"
    return f"{program} refuses the config that would result"


def _require_loadable(
    runs: DryRuns, facts: HostFacts, plan: Plan, request: ConfigRequest, adapter: EngineAdapter
) -> EffectiveConfig | None:
    """Let the engine's binary load the result, and check what it reads from it.

    Returns what it reads from the files without us, where it prints that.
    """
    took = logs.stopwatch()
    base = [each.edit_to_base for each in plan.changes]
    after = runs.loaded(each.edit for each in plan.differing)
    if after is None:
        return None
    before = runs.loaded(base) if after.prints or after.refused else None
    if after.result.status != 0:
        if after.refused and not _is_excused(after, before):
            raise EngineRejectedError(
                f"{_rejection(runs, facts, base)}: {after.reason}", _UNTOUCHED
            )
        log.warning(
            "config.unchecked", "the engine's binary can't check the files", reason=after.reason
        )
        return None
    checked = "the engine's own binary loads the result"
    if runs.stages:
        log.step("config.checked", checked, by=facts.executable, seconds=took())
    else:  # a plan: it shows the result
        log.debug("config.checked", checked, by=facts.executable, seconds=took())
    if not after.prints:
        return None
    result = _decoded(adapter, after)
    lacking = shortcomings(plan.expected, Served(config=result))
    if lacking:
        raise EngineRejectedError(
            f"{facts.executable} does not read the planned settings: {'; '.join(lacking)}",
            f"compare with the output of its dump command; {_UNTOUCHED}",
        )
    if before is None or before.result.status != 0:
        return None
    without_us = _decoded(adapter, before)
    surprises = adapter.unintended(without_us, result, request)
    if surprises:
        raise EngineRejectedError(
            f"the change would also alter {'; '.join(surprises)}",
            f"{_UNTOUCHED}; name the file to edit with --config or --drop-in-config",
        )
    return without_us


def _decoded(adapter: EngineAdapter, loaded: Loaded) -> EffectiveConfig:
    try:
        return adapter.effective(loaded.result.output)
    except ConfigError as error:
        raise EngineRejectedError(f"the engine's dump can't be read: {error}") from error


def _is_excused(after: Loaded, before: Loaded | None) -> bool:
    """Return whether the binary rejects the files for the same reason without us."""
    if not after.excused or before is None:
        return False
    return before.refused and _PATH.sub("", before.reason) == _PATH.sub("", after.reason)
