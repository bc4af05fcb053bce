"""The first log line of a setup: the version, the engine, why it was chosen, and the steps."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit import logs
from toolkit.apply.plan import Plan
from toolkit.payload.installer import PayloadPlan
from toolkit.version import VERSION

log = logs.get(__name__)
_MIB = 1 << 20


def announce(plan: Plan, why: str) -> None:
    """Write the line; ``why`` is the reason for the choice of the engine."""
    facts = plan.facts
    acts = ", ".join(_acts(plan)) or "nothing to do"
    if facts is None:
        log.step("setup.begun", f"nvidia-toolkit {VERSION}, no engine: {acts}")
        return
    log.step(
        "setup.begun",
        f"nvidia-toolkit {VERSION}, {facts.engine} {facts.shown_version}: {acts}",
        socket=facts.socket,
        chosen=why,
        distribution=facts.distribution,
    )


def _acts(plan: Plan) -> Iterator[str]:
    """Yield what a setup does, in order."""
    if plan.payload.changes:
        yield _payload(plan.payload)
    count = len(plan.differing)
    if count:
        yield f"change {count} file{'' if count == 1 else 's'} of the engine"
    if plan.reload.needed:
        yield "reload it"


def _payload(payload: PayloadPlan) -> str:
    return f"{payload.action.value} the toolkit's files ({payload.size / _MIB:.1f} MiB)"
