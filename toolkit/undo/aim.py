"""What to go back to: the start of an unfinished change, or the time before us."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from runtime_configs.model import Role
from runtime_configs.overlay import Snapshot
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import EngineProcess, Expectation
from toolkit.journal.baseline import baselines, restore_if_deleted, strip_our_changes
from toolkit.journal.record import FileRecord, Record, State
from toolkit.node import Node, control_of
from toolkit.payload.records import PayloadRecord
from toolkit.settings import RestartMode


class Target(Struct, frozen=True, kw_only=True):
    """A file and the content to restore."""

    record: FileRecord
    now: bytes | None
    content: bytes | None
    interim: bytes | None = None
    """Written and reloaded first, if any: without it a live reload of ``content`` would not make
    the engine drop its old default."""

    @property
    def differs(self) -> bool:
        """True where the file has to be written."""
        return self.now != self.content

    @property
    def passed(self) -> tuple[bytes | None, ...]:
        """The contents that the file has before ``content``."""
        return (self.now,) if self.interim is None else (self.now, self.interim)


class Aim(Struct, frozen=True, kw_only=True):
    """The state to restore: the start of an unfinished change, or the time before us."""

    record: Record
    """The change to undo: the intent of an unfinished one, or the journal in force."""
    targets: tuple[Target, ...]
    directories: tuple[str, ...]
    """Our directories; removed if they are empty."""
    expected: Expectation
    """What the engine serves in that state."""
    loaded: bool
    """The engine may have loaded our files, according to the journal and the files."""
    control: EngineControl | None
    """None where no engine is asked."""
    known: EngineProcess | None = None
    """The earlier process, from which a dead engine is started; None: it is not started."""
    release: Callable[[], None] = lambda: None
    """Removes the payload before a reload, for an engine that would find it by itself."""

    @property
    def has_interim(self) -> bool:
        """Whether the engine loads interim contents first."""
        return any(each.interim is not None for each in self.targets)


def at_start(
    node: Node,
    intent: Record,
    record: Record | None,
    control: EngineControl | None,
    process: EngineProcess | None = None,
) -> Aim:
    """Return the aim of a rollback, from any point at which an intent's change stopped.

    ``record`` is the journal before the change. ``control`` is None if no engine is asked;
    ``process`` is the engine from before, if known.
    """
    kept = () if record is None else record.directories
    payload = None if intent.payload is None else PayloadRecord.from_json(intent.payload)

    def release() -> None:
        if payload is not None:
            node.installer.undo(payload)

    reloading = intent.state is State.RELOADING
    return Aim(
        record=intent,
        targets=_targets_at_start(node, intent),
        directories=tuple(each for each in intent.directories if each not in kept),
        expected=_state_before(record, intent),
        loaded=reloading,
        control=_reloaded(node, intent, control if intent.reloads else None),
        known=process if reloading else None,
        release=release,
    )


def before_us(node: Node, record: Record, lost: Callable[[str], bool] = lambda _path: False) -> Aim:
    """Return the aim of a revert. A deleted file is restored only if it is ``lost``."""
    view, default = Snapshot(node.view), record.previous_default
    found = baselines(record, view, node.store.blob, node.adapter, lost=lost)
    targets = tuple(
        target_of(node, record, each, view.read(each.path), found[each.path], default=default)
        for each in record.files
    )
    return Aim(
        record=record,
        targets=targets,
        directories=record.directories,
        expected=_without_us(record),
        loaded=record.state is State.REVERTING or any(each.differs for each in targets),
        control=_reloaded(node, record, control_of(node, record) if _is_served(record) else None),
    )


def _targets_at_start(node: Node, intent: Record) -> tuple[Target, ...]:
    """Return the content of each file when the intent began, with others' edits since then.

    A repair restores a file that was deleted, and so does its rollback. An interim content does not
    count as an edit.
    """
    default = intent.previous_default
    adapter = None if intent.engine is None else node.adapter(intent.engine)
    targets = []
    for each in intent.files:
        now = node.view.read(each.path)
        start, ours = node.store.blob(each.start), node.store.blob(each.ours)
        known = {ours}
        if adapter is not None:
            back = adapter.interim_content(ours, start, default)
            forth = adapter.interim_content(start, ours, intent.default or default)
            known.update(each for each in (back, forth) if each is not None)
        if start is None and restore_if_deleted(each):
            # The file was lost when a repair began: the engine needs one to start.
            start = node.store.blob(each.before)
        content = start if now in known else strip_our_changes(each, start, ours, now, adapter)
        targets.append(target_of(node, intent, each, now, content, default=default))
    return tuple(targets)


def target_of(
    node: Node,
    record: Record,
    file: FileRecord,
    now: bytes | None,
    content: bytes | None,
    *,
    default: str | None,
) -> Target:
    """Return a target with its interim content; ``default`` is the default handler in the end.

    A file that is restored already may have one too: the engine may still use what we wrote.
    """
    interim = None
    if record.engine is not None:
        between = node.adapter(record.engine).interim_content
        interim = between(now, content, default)
        interim = interim or between(node.store.blob(file.ours), content, default)
    return Target(record=file, now=now, content=content, interim=interim)


def _state_before(record: Record | None, intent: Record) -> Expectation:
    """Return what the engine served when the intent's change began, and should serve again.

    If one of our files had been edited before that, the engine served what it had loaded earlier,
    which its files no longer say.
    """
    if record is None or not record.files:
        return _without_us(intent)
    start = set(intent.start_handlers or record.handlers)
    absent = tuple(pair for pair in intent.handlers if pair not in start)
    if _edited_by_others(record, intent):
        return Expectation(absent=absent)
    return Expectation(
        served=tuple(pair for pair in record.handlers if pair in start),
        absent=absent,
        default=record.default if intent.start_handlers is None else intent.start_default,
    )


def _edited_by_others(record: Record, intent: Record) -> bool:
    """Return whether one of our files had been edited before an intent's change began."""
    known = {each.path: each.ours for each in record.files}
    return any(known.get(each.path, each.start) != each.start for each in intent.files)


def _without_us(record: Record) -> Expectation:
    """Return what the engine serves without the record's change.

    It expects no particular default: an administrator may have chosen a third one.
    """
    before = set(record.previous_handlers)
    return Expectation(
        absent=tuple(pair for pair in record.handlers if pair not in before),
        absent_default=None if record.default == record.previous_default else record.default,
    )


def _is_served(record: Record) -> bool:
    """Return whether an engine has something of a record in force: handlers, or CDI alone."""
    return bool(record.handlers) or any(each.role is not Role.HOOK for each in record.files)


def mode_of(node: Node, record: Record) -> RestartMode:
    """Return how the engine of a record is reloaded now; not at all if there is none."""
    if record.engine is None:
        return RestartMode.NONE
    return node.settings.engines[record.engine].restart_mode


def _reloaded(node: Node, record: Record, control: EngineControl | None) -> EngineControl | None:
    return None if mode_of(node, record) is RestartMode.NONE else control
