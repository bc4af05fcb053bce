"""Find a setup of ours without a journal: it was deleted, or a kill left the files behind.

It is recognised in the engine's files and in the engine itself: by our header, and by handlers that
run a binary below the install directory. It gets a journal again, so that a start and `revert`
treat it as any other setup.
"""

from __future__ import annotations

from functools import partial

from runtime_configs.model import ConfigError
from toolkit import logs
from toolkit.engine.facts import HostFacts
from toolkit.engine.wait import LOOK_SECONDS
from toolkit.errors import ToolkitError
from toolkit.host.clock import UninterruptedClock
from toolkit.journal.record import FileRecord, Record, State, digest_of
from toolkit.node import Node, choose_engine
from toolkit.request import config_request
from toolkit.settings import RestartMode
from toolkit.undo.recovery import StartStep
from toolkit.version import VERSION

log = logs.get(__name__)

UNKNOWN = (
    "not known: the bytes, mode and owner of the files from before us, the default handler of then,"
    " CDI's switch and imports that we may have added"
)


def unnamed_setup(node: Node, facts: HostFacts) -> StartStep | None:
    """Return a step for a setup of ours that has no journal, if there is one; reads only."""
    directory = node.toolkit_dir
    try:
        own = node.adapter(facts.engine).own_files(
            config_request(node.settings, facts, directory), node.view
        )
    except ConfigError:
        return None  # the plan for this engine reports the error
    foreign = node.installer.is_foreign()
    edits = [each.edit for each in own if each.certain or not foreign]
    live = None if foreign else facts.served.config
    below = f"{directory}/"
    handlers = {} if live is None else live.handlers
    ours = tuple(
        (name, each.binary_path or "")
        for name, each in handlers.items()
        if (each.binary_path or "").startswith(below)
    )
    if not edits and not ours:
        return None
    files = []
    for edit in edits:
        now = node.writer.read(edit.path)
        files.append(
            FileRecord(
                path=edit.path,
                format=edit.format,
                role=edit.role,
                first=digest_of(edit.after),
                before=digest_of(edit.after),
                start=digest_of(edit.before),
                ours=digest_of(edit.before),
                metadata=None if now is None or edit.after is None else now.metadata,
            )
        )
    payload = node.installer.unrecorded()
    default = None if live is None else live.default
    record = Record(
        state=State.COMMITTED,
        version=VERSION,
        engine=facts.engine,
        socket=facts.socket,
        unit=None if facts.process is None else facts.process.unit,
        files=tuple(files),
        handlers=ours,
        default=default if default in dict(ours) else None,
        reloads=node.settings.engines[facts.engine].restart_mode is not RestartMode.NONE,
        payload=None if payload is None else payload.to_json(),
    )
    contents = tuple(each for edit in edits for each in (edit.before, edit.after))
    where = ", ".join(each.path for each in edits) or f"{facts.engine} on {facts.socket}"
    return StartStep(
        path=node.store.path,
        reason=f"{where} has handlers of ours and no journal names them; one is written first",
        node=node,
        act=partial(_name, node, record, contents, where),
        leaves=record,
        contents=contents,
    )


def _name(node: Node, record: Record, contents: tuple[bytes | None, ...], where: str) -> None:
    log.warning("journal.missing", f"{where} has handlers of ours and no journal; {UNKNOWN}")
    node.store.adopt(record, contents)


def named_again(node: Node) -> Record | None:
    """Give a setup without a journal a new one; None if there is none, or no engine to ask."""
    try:
        control = node.control(choose_engine(node, None).name)
        step = unnamed_setup(node, control.facts(UninterruptedClock().now() + LOOK_SECONDS))
    except ToolkitError as error:
        log.debug("engine.unreachable", "no engine could be asked", reason=str(error))
        return None
    if step is None:
        return None
    step.do()
    return node.store.load()
