"""One setup, at a start or as a repair: look, plan, apply, verify.

A start is a list of steps: recover, revert another setup, set up. ``next_step`` decides each from
the state of the node; `plan` and `doctor` use the same function. The code that applies or undoes a
change is loaded only when needed.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from runtime_configs.overlay import Snapshot
from toolkit import logs
from toolkit.apply.announce import announce
from toolkit.apply.begin import Outcome, refresh_record
from toolkit.apply.look import explained, look, refused_node, silence
from toolkit.apply.plan import Plan, build, files_only, without_needless_reload
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import HostFacts
from toolkit.engine.wait import LOOK_SECONDS
from toolkit.errors import ConcurrentEditError, ToolkitError
from toolkit.host.clock import Clock
from toolkit.journal.baseline import baselines
from toolkit.journal.record import Record
from toolkit.journal.store import JournalStore
from toolkit.node import Node, choose_engine
from toolkit.payload.installer import PayloadInstaller
from toolkit.payload.low_level import low_level_runtimes
from toolkit.payload.source import RUNTIME
from toolkit.settings import RestartMode, Settings
from toolkit.undo.recovery import StartStep, recovery, settle_payload

if TYPE_CHECKING:
    from toolkit.engine.process.discover import Choice

log = logs.get(__name__)

ATTEMPTS = 3


class Planned(Struct, frozen=True, kw_only=True):
    """A plan and the engine that it was made for."""

    plan: Plan
    control: EngineControl | None
    why: str = ""
    """Why this engine was chosen."""
    awaited: ToolkitError | None = None
    """The error of a start that waits for the engine in vain; set only without patience."""


def make_plan(
    node: Node, record: Record | None, clock: Clock, *, patience: float | None
) -> Planned | StartStep:
    """Look at the node and compute what to do; wait up to ``patience`` seconds for the engine.

    A setup without a journal gets one before anything is planned. Without patience the engine is
    looked at once, and an engine that cannot be reached is planned for too. Raises
    EngineTimeoutError where the engine cannot be reached and the restart mode or the plan needs it.
    """
    if touches_no_engine(node.settings):
        low_level = low_level_runtimes(None, node.root, node.settings)
        return Planned(plan=files_only(node.installer.plan(low_level)), control=None)
    choice = choose_engine(node, record)
    engine = choice.name
    control = node.control(engine)
    others = record.engine if record is not None and record.engine is not engine else None
    if others is not None:
        # That setup is reverted by now: only its payload is left.
        record = None
    if patience is not None:
        facts = look(node, control, clock, patience=patience)
        return _planned(node, choice, control, facts, record, names=others is None)
    facts = control.facts(clock.now() + LOOK_SECONDS)
    awaited = silence(node, facts)
    awaited = None if awaited is None else explained(node, facts, awaited)
    try:
        found = _planned(node, choice, control, facts, record, names=others is None)
    except ToolkitError as error:
        raise awaited or error from error.__cause__
    if isinstance(found, Planned):
        return replace(found, awaited=awaited)
    if awaited is not None:
        raise awaited
    return found


def _planned(
    node: Node,
    choice: Choice,
    control: EngineControl,
    facts: HostFacts,
    record: Record | None,
    *,
    names: bool,
) -> Planned | StartStep:
    """Plan for an engine from its facts; with ``names``, a setup without a journal gets one."""
    if (refused := refused_node(facts)) is not None:
        raise refused
    if record is None and names and (unnamed := _unnamed(node, facts)) is not None:
        return unnamed
    for warning in facts.warnings:
        log.warning("facts.contradiction", warning)
    search_path = () if facts.process is None else facts.process.search_path
    low_level = low_level_runtimes(facts.effective, node.root, node.settings, search_path)
    view = Snapshot(node.view)
    plan = build(
        settings=node.settings,
        facts=facts,
        adapter=node.adapter(facts.engine),
        view=view,
        record=record,
        without={} if record is None else baselines(record, view, node.store.blob, node.adapter),
        payload=node.installer.plan(low_level),
    )
    plan = replace(plan, notes=(*plan.notes, *_severed_links(node, plan)))
    return Planned(plan=plan, control=control, why=choice.why)


def _unnamed(node: Node, facts: HostFacts) -> StartStep | None:
    from toolkit.undo.ownership import unnamed_setup

    return unnamed_setup(node, facts)


def _severed_links(node: Node, plan: Plan) -> Iterator[str]:
    """Yield a note for each file with hard links, which a replacement of the file breaks."""
    for change in plan.differing:
        state = node.writer.read(change.path)
        if state is not None and state.links > 1:
            yield (
                f"{change.path} has {state.links} names (hard links): the others keep the old "
                "content; make them symbolic links if they should follow"
            )


def touches_no_engine(settings: Settings) -> bool:
    """Return whether no engine is touched: with ``--no-runtime-config``, and in NRI mode."""
    return settings.lifecycle.no_runtime_config or settings.nri.enabled


def next_step(
    node: Node, clock: Clock, *, patience: float | None, done: Collection[str] = ()
) -> StartStep | Planned:
    """Decide the next step of a start from the state of the node: the setup, or one before it.

    ``done`` has the paths of the steps so far. Waits as ``make_plan`` does.
    """
    step = recovery(node)
    if step is not None:
        return step
    record = node.store.load()
    if record is not None and leaves_engine(node, record) and node.store.path not in done:
        return _reversion(
            node,
            record,
            path=node.store.path,
            reason=f"the setup on {record.engine} is reverted first",
        )
    planned = make_plan(node, record, clock, patience=patience)
    if isinstance(planned, StartStep):
        return planned
    install_dir = other_install(node, planned.plan)
    if install_dir is None or f"{install_dir}/toolkit" in done:
        return planned
    other = node_of_other(node, install_dir)
    record = other.store.load()
    step = recovery(other)
    if step is not None or record is None:
        return step or planned
    return _reversion(
        other,
        record,
        path=f"{install_dir}/toolkit",
        elsewhere=True,
        reason="the engine's config points there; that setup is reverted first",
    )


def _reversion(
    node: Node, record: Record, *, path: str, reason: str, elsewhere: bool = False
) -> StartStep:
    from toolkit.undo.revert import revert_aim, revert_record
    from toolkit.undo.rollback import reload_mode

    def act() -> None:
        if not elsewhere:
            log.step("setup.engine_changed", reason, path=path)
            revert_record(node, record)
            return
        log.step("setup.moved", reason, path=path)
        if revert_record(node, record).payload == "kept":
            log.warning(
                "payload.elsewhere",
                f"`revert --toolkit-install-dir={node.store.install_dir}` removes the files there"
                " once nobody needs them",
            )

    aim = revert_aim(node, record)
    return StartStep(
        path=path,
        reason=reason,
        node=node,
        act=act,
        leaves=None,
        targets=aim.targets,
        reloads=partial(reload_mode, node, aim),
    )


def set_up(
    node: Node,
    clock: Clock,
    *,
    patience: float,
    repair: bool = False,
    verified: tuple[int, int] | None = None,
    attempts: int = ATTEMPTS,
) -> Outcome:
    """Set the node up, after the steps that come before; undo the setup on any failure.

    A repair logs what it changes, and does not reload the engine's ``verified`` process for what
    it has loaded already (``without_needless_reload``). If another process writes a file meanwhile,
    the setup is undone and starts again from the new state, at most ``attempts`` times in all.
    """
    node.installer.cdi.require_driver()
    done: list[str] = []
    while isinstance(step := next_step(node, clock, patience=patience, done=done), StartStep):
        step.do()
        done.append(step.path)
    plan, control, record = step.plan, step.control, node.store.load()
    if not repair:
        announce(plan, step.why)
    else:
        plan = without_needless_reload(plan, record, node.store.blob, verified)
    for note in plan.notes:
        log.step("plan.note", note)
    if plan.nothing_to_do and record is not None and record.payload is not None:
        outcome = _unchanged(node, plan, record, clock, repair=repair)
    else:
        from toolkit.apply.transaction import Transaction

        if repair:
            _log_repair(plan)
        try:
            waits = not repair
            transaction = Transaction(node=node, control=control, clock=clock, waits=waits)
            return transaction.apply(plan, record)
        except ConcurrentEditError as error:
            if attempts <= 1:
                raise
            log.warning("setup.again", "begun again", reason=error.message)
            return set_up(
                node,
                clock,
                patience=patience,
                repair=repair,
                verified=verified,
                attempts=attempts - 1,
            )
    if control is not None and plan.reload.mode is not RestartMode.NONE:
        from toolkit.apply.served import verify_served

        verify_served(node, control, plan, outcome.process, clock=clock)
    return outcome


def _log_repair(plan: Plan) -> None:
    from runtime_configs.formats.unified_diff import redacted_diff

    if plan.differing and not plan.reload.needed:
        log.step("plan.note", f"no reload: {plan.reload.reason}")
    for change in plan.differing:
        diff = redacted_diff(change.path, change.now, change.after, known=change.base)
        log.step("drift.diff", f"restoring our change in {change.path}", diff=diff)


def _unchanged(node: Node, plan: Plan, record: Record, clock: Clock, *, repair: bool) -> Outcome:
    """Finish a setup that finds everything right."""
    log.step("plan.empty", "nothing differs", reason=plan.reload.reason)
    process = None if plan.facts is None else plan.facts.process
    outcome = Outcome(record=_refreshed(node, plan, record), reload=None, process=process)
    # A reboot removes the spec, and a newer driver makes it stale.
    node.installer.cdi.apply(clock, waits=not repair)
    settle_payload(node, record)
    if repair:
        from toolkit.apply.check import pending_edits

        for line in pending_edits(node, plan, stages=True):
            log.warning("config.pending", line)
    return outcome


def _refreshed(node: Node, plan: Plan, record: Record) -> Record:
    """Update the journal where the same setup is in force by other settings.

    Otherwise an engine set up with restart mode ``none`` and started again without it would never
    be watched, and one that was configured by hand would not be known.
    """
    found = refresh_record(node, plan, record)
    if found != record:
        node.store.commit(found)
    return found


def leaves_engine(node: Node, record: Record) -> bool:
    """Return whether a record has a change on an engine other than the one of these settings."""
    if record.engine is None or not (record.files or record.handlers):
        return False
    if touches_no_engine(node.settings):
        return True
    return choose_engine(node, record).name is not record.engine


def other_install(node: Node, plan: Plan) -> str | None:
    """Return another install directory with a journal, if the engine's config points to it."""
    if plan.facts is None or plan.facts.effective is None:
        return None
    for handler in plan.facts.effective.handlers.values():
        directory, _, name = (handler.binary_path or "").rpartition("/")
        install_dir, _, last = directory.rpartition("/")
        if last != "toolkit" or not name.startswith(RUNTIME):
            continue
        if install_dir in ("", node.store.install_dir):
            continue
        store = _store(node, install_dir)
        if store.load() is not None or store.load_intent() is not None:
            return install_dir
    return None


def node_of_other(node: Node, install_dir: str) -> Node:
    """Return the same node for a setup in another install directory."""
    settings = replace(node.settings, install_dir=posixpath.join(node.root.root, install_dir[1:]))
    return replace(
        node,
        settings=settings,
        store=_store(node, install_dir),
        installer=PayloadInstaller(settings=settings, root=node.root, writer=node.writer),
    )


def _store(node: Node, install_dir: str) -> JournalStore:
    return JournalStore(writer=node.writer, view=node.view, install_dir=install_dir)
