"""The journal record of a change that is about to begin, and of a setup in force."""

from __future__ import annotations

import posixpath

from msgspec import Struct
from msgspec.structs import replace

from toolkit.apply.changes import FileChange
from toolkit.apply.plan import Plan, served
from toolkit.engine.facts import EngineProcess, LackKind, ReloadReport
from toolkit.host.writer import FileMetadata
from toolkit.journal.record import FileRecord, Record, State, digest_of
from toolkit.node import Node
from toolkit.settings import RestartMode
from toolkit.version import VERSION


class Outcome(Struct, frozen=True, kw_only=True):
    """What a setup did."""

    record: Record
    reload: ReloadReport | None
    process: EngineProcess | None = None
    """The engine's process after the setup, where it is known."""
    changed: bool = False


def begin_record(
    node: Node, plan: Plan, record: Record | None
) -> tuple[Record, tuple[bytes | None, ...]]:
    """Return the intent and every content that it refers to."""
    from toolkit.payload.parting import directories_left

    files = []
    contents: list[bytes | None] = []
    directories = list(record.directories) if record is not None else []
    for change in plan.changes:
        old = None if record is None else record.file(change.path)
        first = digest_of(change.now) if old is None else old.first
        files.append(
            FileRecord(
                path=change.path,
                format=change.format,
                role=change.role,
                first=first,
                before=digest_of(change.base),
                start=digest_of(change.now),
                ours=digest_of(change.after),
                metadata=_metadata_before(node, change, old),
                extra={} if old is None else old.extra,
            )
        )
        contents += [change.base, change.now, change.after]
        if change.after is not None:
            missing = node.writer.missing_directories(posixpath.dirname(change.path))
            directories += [each for each in missing if each not in directories]
    facts = plan.facts
    process = None if facts is None else facts.process
    effective = None if facts is None else facts.in_force
    left = directories_left(node.writer, node.toolkit_dir)
    payload = node.installer.intent(plan.payload).to_json()
    intent = Record(
        state=State.WRITING,
        version=VERSION,
        engine=None if facts is None else facts.engine,
        socket="" if facts is None else facts.socket,
        unit=None if process is None else process.unit,
        files=tuple(files),
        directories=tuple(directories),
        install_directories=left if record is None else record.install_directories,
        run_directories=() if record is None else record.run_directories,
        pid_file=node.pid_file,
        handlers=plan.expected.served,
        default=plan.expected.default,
        previous_handlers=plan.previous_handlers,
        previous_default=plan.previous_default,
        start_handlers=None if effective is None else served(effective),
        start_default=None if effective is None else effective.default,
        start_lack=_lack(plan),
        reloads=plan.reload.mode is not RestartMode.NONE,
        payload=payload,
        extra={} if record is None else record.extra,
    )
    return intent, tuple(contents)


def _lack(plan: Plan) -> str | None:
    """Return why the engine cannot serve anything before the change; None where it can."""
    lack = None if plan.facts is None else plan.facts.served.lack
    return None if lack is None or lack.kind is LackKind.PENDING else lack.reason


def _metadata_before(node: Node, change: FileChange, old: FileRecord | None) -> FileMetadata | None:
    if old is not None and old.metadata is not None:
        return old.metadata
    state = node.writer.read(change.path)
    return None if state is None or change.base is None else state.metadata


def refresh_record(node: Node, plan: Plan, record: Record) -> Record:
    """Return a record in force, updated to the settings of a plan that changes nothing.

    Where the plan has no engine, the record keeps the earlier one: that engine is asked whether it
    still needs the payload.
    """
    facts = plan.facts
    record = replace(record, pid_file=node.pid_file)
    if facts is None:
        return replace(record, state=State.COMMITTED, handlers=(), default=None, reloads=False)
    return replace(
        record,
        state=State.COMMITTED,
        engine=facts.engine,
        socket=facts.socket,
        unit=record.unit if facts.process is None else facts.process.unit,
        handlers=plan.expected.served,
        default=plan.expected.default,
        reloads=plan.reload.mode is not RestartMode.NONE,
    )
