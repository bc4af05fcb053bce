"""Let the engine judge a plan before anything live is touched."""

from __future__ import annotations

import re

from runtime_configs.adapter import ConfigRequest, EngineAdapter
from toolkit import logs
from toolkit.apply.plan import Plan
from toolkit.dry_run import Loaded, dry_run
from toolkit.errors import EngineRejectedError
from toolkit.host.commands import CommandResult
from toolkit.node import Node

log = logs.get(__name__)

_PATH = re.compile(r"/[^\s:'\"]+")


def check_plan(node: Node, plan: Plan) -> None:
    """Let the engine's own binary load the result. Raises EngineRejectedError.

    What the result means is held against what the files mean without us: only what is wanted may
    differ.
    """
    facts, request = plan.facts, plan.request
    if facts is None or request is None:
        return
    adapter = node.adapter(facts.engine)
    took = logs.stopwatch()
    after = dry_run(node, facts, request, (each.edit for each in plan.differing))
    if after is None:
        return
    before = None
    if after.prints or after.refused:
        before = dry_run(node, facts, request, (each.edit_to_base for each in plan.changes))
    if after.result.status != 0:
        if after.refused and not _is_excused(after, before):
            raise EngineRejectedError(
                f"{facts.executable} refuses the config that would result: {after.reason}",
                "nothing was written",
            )
        log.warning("config.unchecked", "the engine's binary can't judge", reason=after.reason)
        return
    log.step(
        "config.checked",
        "the engine's own binary loads the result",
        by=facts.executable,
        seconds=took(),
    )
    if after.prints and before is not None and before.result.status == 0:
        _require_what_is_meant(adapter, request, before.result, after.result)


def _is_excused(after: Loaded, before: Loaded | None) -> bool:
    """Tell whether a refusal comes from where the binary is run: the files get it without us."""
    if after.excused is None or after.excused not in after.reason or before is None:
        return False
    return before.refused and _PATH.sub("", before.reason) == _PATH.sub("", after.reason)


def _require_what_is_meant(
    adapter: EngineAdapter, request: ConfigRequest, before: CommandResult, after: CommandResult
) -> None:
    decode = adapter.effective
    surprises = adapter.unintended(decode(before.output), decode(after.output), request)
    if surprises:
        raise EngineRejectedError(
            f"the change would also alter {'; '.join(surprises)}",
            "nothing was written; name the file to edit with --config or --drop-in-config",
        )
