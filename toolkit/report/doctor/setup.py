"""What is set up already, which process does it now, and what a setup would do or refuse."""

from __future__ import annotations

import os
from collections.abc import Iterator

from toolkit.daemon.handover import install_dir_of
from toolkit.errors import PayloadError, ToolkitError
from toolkit.host.lock_look import flock_holder
from toolkit.journal.record import State
from toolkit.node import Node
from toolkit.payload.installer import PayloadPlan
from toolkit.payload.low_level import low_level_runtimes
from toolkit.report.doctor.context import Context
from toolkit.report.doctor.findings import Finding, not_looked_at, ok, refused, warning
from toolkit.report.doctor.system import namespace, own_proc


def journal(context: Context) -> Iterator[Finding]:
    """Check the journal of earlier setups."""
    record = context.record
    if context.journal_error is not None:
        yield refused("journal", context.journal_error)
    elif context.intent is not None:
        yield warning(
            "journal",
            "a setup is under way or was interrupted",
            "none is needed: the next start or `revert` finishes or undoes an interrupted one",
        )
    elif record is None:
        yield ok("journal", "nothing is set up")
    elif record.state is State.REVERTING:
        yield warning(
            "journal",
            "a revert is under way or was interrupted",
            "none is needed: the next start or `revert` finishes an interrupted one",
        )
    else:
        engine = "no engine" if record.engine is None else record.engine.value
        yield ok("journal", f"{record.state.value} by version {record.version}, {engine}")


def lock(context: Context) -> Iterator[Finding]:
    """Check whether another installer, NVIDIA's own included, works on this node."""
    node = context.node
    path = node.pid_file
    if context.place_error is not None:
        yield refused("lock", context.place_error)
        return
    noted, locks = node.view.read(path), own_proc(node, "locks")
    if noted is None:
        yield ok("lock", "no instance has it")
    elif locks is None:
        yield not_looked_at("lock", f"{node.root.proc}/locks can't be read")
    elif (holder := flock_holder(locks.decode(), os.stat(node.root.access(path)), noted)) is None:
        yield ok("lock", "no instance that can be seen has it")
    elif _is_in_this_container(node, holder):
        yield ok("lock", f"this container's own daemon has it (PID {holder})")
    else:
        yield warning(
            "lock",
            f"a daemon of this setup is live: PID {holder} has locked {path}",
            "stop it before another one is started, which waits for it a while and then ends with"
            " exit code 4",
        )


def _is_in_this_container(node: Node, pid: int) -> bool:
    """Return whether a process is the daemon of this process's own container."""
    if node.root.root == "/" or install_dir_of(pid, node.root.proc) != node.store.install_dir:
        return False
    own = namespace(node, "mnt")
    return own is not None and own == namespace(node, "mnt", pid)


def payload(context: Context) -> Iterator[Finding]:
    """Check whether the toolkit's files are complete and fit this host."""
    try:
        planned = context.plan.payload if context.plan is not None else _payload(context)
    except ToolkitError as error:
        yield refused("payload", error)
    else:
        yield ok("payload", f"{planned.source}: {planned.size >> 20} MiB, {planned.action.value}")


def _payload(context: Context) -> PayloadPlan:
    node, facts = context.node, context.facts
    effective = None if facts is None else facts.effective
    process = None if facts is None else facts.process
    search_path = () if process is None else process.search_path
    return node.installer.plan(low_level_runtimes(effective, node.root, node.settings, search_path))


def plan(context: Context) -> Iterator[Finding]:
    """Make the plan of a setup, and report where a setup refuses."""
    found, error = context.preview, context.plan_error
    if found is not None and error is not None:
        yield refused("plan", error)
    elif found is not None:
        count = len(found.plan.differing)
        files = f"{count} file{'' if count == 1 else 's'} of the engine to change"
        reload = "reload" if found.plan.reload.needed else "no reload"
        yield ok("plan", f"{files}; {reload}: {found.plan.reload.reason}")
        for each in found.steps:
            yield ok("plan", f"{each.path}: {each.reason}")
        for line in found.pending:
            yield warning(
                "pending edit",
                line,
                "it was saved and never loaded, and the engine's next reload brings it: undo it "
                "or load it yourself first",
            )
    elif context.journal_error is not None:
        yield not_looked_at("plan", "the journal can't be used")
    elif context.engine_error is not None:
        yield not_looked_at("plan", "no engine was found")
    elif isinstance(error, PayloadError):
        yield not_looked_at("plan", "the payload can't be installed as it is")
    elif error is not None and (context.facts is None or context.facts.refused is None):
        yield refused("plan", error)
