"""Decide the next step of a start from the state of the node.

A start is a list of steps: recover, revert another setup, set up. `plan` and `doctor` use the same
functions as the daemon.
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
from toolkit.apply.look import explained, look, refused_node, silence
from toolkit.apply.plan import Plan, build, files_only
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import HostFacts
from toolkit.engine.wait import LOOK_SECONDS
from toolkit.errors import ToolkitError
from toolkit.host.clock import Clock
from toolkit.journal.baseline import baselines
from toolkit.journal.record import Record
from toolkit.journal.store import JournalStore
from toolkit.node import Node, choose_engine
from toolkit.payload.installer import PayloadInstaller
from toolkit.payload.low_level import low_level_runtimes
from toolkit.payload.source import RUNTIME
from toolkit.settings import Settings
from toolkit.undo.recovery import StartStep, recovery

if TYPE_CHECKING:
    from toolkit.engine.process.discover import Choice

log = logs.get(__name__)


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
    if record is None and names:
        from toolkit.undo.ownership import unnamed_setup

        unnamed = unnamed_setup(node, facts)
        if unnamed is not None:
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
