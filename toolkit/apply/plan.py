"""What a setup would do, computed from bytes and facts before anything is done.

The engine's files are planned from their content without us (``without_us``). So an edit that
someone made on top of our change is part of the starting point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from runtime_configs.adapter import ConfigRequest, EngineAdapter
from runtime_configs.model import (
    ConfigError,
    EffectiveConfig,
    EngineName,
    HostView,
    Role,
)
from runtime_configs.overlay import Overlay
from runtime_configs.shims import starts_runc
from toolkit.apply.changes import FileChange, changes, same_meaning
from toolkit.engine.facts import Expectation, HostFacts, LackKind, Supervisor
from toolkit.engine.verify import shortcomings
from toolkit.errors import EngineConfigError
from toolkit.journal.baseline import engine_config_error
from toolkit.journal.record import Record, digest_of
from toolkit.payload.installer import PayloadPlan
from toolkit.payload.records import FOREIGN
from toolkit.request import config_request
from toolkit.settings import RestartMode, Settings


class ReloadDecision(Struct, frozen=True, kw_only=True):
    """Whether and how the engine is reloaded, and the reason."""

    needed: bool
    mode: RestartMode
    reason: str


class Plan(Struct, frozen=True, kw_only=True):
    """Everything that a setup will do."""

    facts: HostFacts | None
    """None with ``--no-runtime-config``: no engine is looked at."""
    request: ConfigRequest | None
    changes: tuple[FileChange, ...]
    """Every file that has or had a change of ours, including those that are already right."""
    payload: PayloadPlan
    reload: ReloadDecision
    expected: Expectation
    """What the engine has to serve after the setup."""
    previous_handlers: tuple[tuple[str, str], ...]
    previous_default: str | None
    notes: tuple[str, ...] = ()

    @property
    def differing(self) -> tuple[FileChange, ...]:
        """The files that have to be written, in a safe order."""
        return tuple(each for each in self.changes if each.differs)

    @property
    def nothing_to_do(self) -> bool:
        """True where no file, payload or engine has to change."""
        return not self.differing and not self.payload.changes and not self.reload.needed


def expectation(request: ConfigRequest, record: Record | None) -> Expectation:
    """Return what the engine has to serve after the setup."""
    if request.crio_hook_path is not None:
        return Expectation()
    default = request.desired.default
    if default is None and record is not None and record.default is not None:
        default = record.previous_default
    if not request.desired.handlers:
        return Expectation(cdi="" if request.desired.enable_cdi else None)
    return Expectation(
        served=tuple((each.name, each.binary_path) for each in request.desired.handlers),
        # Another shim that the user chose may start the binary by other means.
        runnable=starts_runc(request.desired.runtime_type),
        default=default,
    )


def reload_decision(
    facts: HostFacts,
    mode: RestartMode,
    found: tuple[FileChange, ...],
    expected: Expectation,
) -> ReloadDecision:
    """Decide whether the engine is reloaded: only if something differs."""
    if mode is RestartMode.NONE:
        return ReloadDecision(needed=False, mode=mode, reason="restart mode none")
    differing = [each.path for each in found if each.differs and each.role is not Role.HOOK]
    if differing:
        return ReloadDecision(needed=True, mode=mode, reason=changing(differing))
    if not expected.served and expected.cdi is None:
        return ReloadDecision(
            needed=False, mode=mode, reason="there is nothing that the engine has to load"
        )
    lack = facts.served.lack
    if lack is not None and lack.kind is LackKind.PENDING:
        # The setup waits for its answer: to restart a starting engine does not help.
        reason = f"nothing differs, and the engine does not report its handlers yet: {lack.reason}"
        return ReloadDecision(needed=False, mode=mode, reason=reason)
    lacking = shortcomings(expected, facts.served)
    if lacking:
        return ReloadDecision(needed=True, mode=mode, reason=lacking[0])
    return ReloadDecision(needed=False, mode=mode, reason="nothing differs and all is served")


def without_needless_reload(
    plan: Plan,
    record: Record | None,
    blob: Callable[[str | None], bytes | None],
    verified: tuple[int, int] | None,
) -> Plan:
    """Return the plan without its reload where the engine runs with just what the files get back.

    That is what the journal says we wrote. ``verified`` has the PID and the start time of the
    process that was last seen to serve all. Only containerd loads its files at its start alone:
    CRI-O and dockerd also do so at a SIGHUP, which leaves no trace, and k0s restarts its
    containerd whenever a file changes.
    """
    facts = plan.facts
    process = None if facts is None else facts.process
    if not plan.reload.needed or facts is None or process is None or record is None:
        return plan
    if facts.engine is not EngineName.CONTAINERD or process.supervisor is Supervisor.SELF:
        return plan
    if (process.pid, process.start_time) != verified or shortcomings(plan.expected, facts.served):
        return plan
    for change in plan.differing:
        known = record.file(change.path)
        if known is None:
            return plan
        if digest_of(change.after) != known.ours and not same_meaning(
            change.path, change.format, change.after, blob(known.ours)
        ):
            return plan
    reason = f"the files are restored; {facts.engine}, PID {process.pid}, still runs with them"
    return replace(plan, reload=ReloadDecision(needed=False, mode=plan.reload.mode, reason=reason))


def changing(paths: list[str]) -> str:
    """Return the reason for a reload after these files, at least one, are written."""
    return f"{', '.join(paths)} {'changes' if len(paths) == 1 else 'change'}"


def build(
    *,
    settings: Settings,
    facts: HostFacts,
    adapter: EngineAdapter,
    view: HostView,
    record: Record | None,
    without: Mapping[str, bytes | None],
    payload: PayloadPlan,
) -> Plan:
    """Compute the plan for one engine. Raises EngineConfigError."""
    own = None if payload.state.previous == FOREIGN else f"{payload.toolkit_dir}/"
    previous_handlers, previous_default = _previous(facts, record, own)
    request = config_request(settings, facts, payload.toolkit_dir, previous_default)
    try:
        edit_set = adapter.edits(request, Overlay(view, without))
    except ConfigError as error:
        raise engine_config_error(error) from error
    found = changes(record, view, without, edit_set.edits)
    expected = expectation(request, record)
    mode = settings.engines[facts.engine].restart_mode
    if expected.cdi is not None and any(each.differs for each in found):
        _refuse_live_cdi(facts, mode)
    return Plan(
        facts=facts,
        request=request,
        changes=found,
        payload=payload,
        reload=reload_decision(facts, mode, found, expected),
        expected=expected,
        previous_handlers=previous_handlers,
        previous_default=previous_default,
        notes=(*facts.warnings, *edit_set.notes, *payload.notes),
    )


def _refuse_live_cdi(facts: HostFacts, mode: RestartMode) -> None:
    """Refuse to enable CDI in a dockerd that is only reloaded: it reads that setting at its start.

    Seen with 26.1 (tests/engine). Raises EngineConfigError.
    """
    if facts.engine is EngineName.DOCKER and mode in (RestartMode.AUTO, RestartMode.SIGNAL):
        raise EngineConfigError(
            "dockerd switches CDI on only when it starts, and a restart ends its containers "
            "unless live-restore is on",
            "allow the restart with --restart-mode=systemd, or write the file alone with "
            "--restart-mode=none and restart dockerd yourself",
        )


def files_only(payload: PayloadPlan) -> Plan:
    """Return the plan of ``--no-runtime-config``: the payload alone."""
    return Plan(
        facts=None,
        request=None,
        changes=(),
        payload=payload,
        reload=ReloadDecision(
            needed=False, mode=RestartMode.NONE, reason="the engine's config is not touched"
        ),
        expected=Expectation(),
        previous_handlers=(),
        previous_default=None,
        notes=payload.notes,
    )


def _previous(
    facts: HostFacts, record: Record | None, own: str | None
) -> tuple[tuple[tuple[str, str], ...], str | None]:
    """Return the engine's handlers and default before us, from the journal if it has them.

    Handlers with a binary below ``own`` are left out.
    """
    if record is not None and record.engine is facts.engine:
        # After a revert that was killed, the engine still serves us while no file is ours.
        live = () if facts.served.config is None else served(facts.served.config)
        if record.files or set(record.handlers) & set(live):
            return record.previous_handlers, record.previous_default
    if facts.in_force is None:
        return (), None
    found = tuple(
        (name, path)
        for name, path in served(facts.in_force)
        if own is None or not path.startswith(own)
    )
    default = facts.in_force.default
    known = default not in facts.in_force.handlers or default in dict(found)
    return found, default if known else None


def served(effective: EffectiveConfig) -> tuple[tuple[str, str], ...]:
    """Return the name and binary path of each handler; the path is empty if it names no binary."""
    return tuple((name, each.binary_path or "") for name, each in effective.handlers.items())
