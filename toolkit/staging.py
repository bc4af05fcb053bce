"""Let the engine's own binary try what would result, before anything live is touched."""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace

from runtime_configs.adapter import ConfigRequest
from runtime_configs.model import EditSet, FileEdit, RuntimeHandler
from toolkit import logs
from toolkit.errors import EngineRejectedError
from toolkit.host.commands import CommandResult
from toolkit.journal import Record
from toolkit.node import Node
from toolkit.plan import FileChange, Plan

log = logs.get(__name__)

CANNOT_BE_RUN = (126, 127)
"""Exit statuses of a program that is not there or not executable."""
_PATH = re.compile(r"/[^\s:'\"]+")
STAGED_SECONDS = 20.0
"""How long the engine's binary may take to load a config of any size."""


def check_staged(node: Node, plan: Plan, record: Record | None) -> None:
    """Let the engine's own binary load the result. Raises EngineRejectedError."""
    facts, request = plan.facts, plan.request
    if facts is None or request is None or facts.executable is None:
        return
    adapter = node.adapter(facts.engine)
    with node.store.staging() as directory:
        edits = EditSet(edits=tuple(_edit(each) for each in plan.differing))
        check = adapter.staged_check(edits, request, node.view, directory)
        if check is None:
            return
        for path, content in check.files:
            node.writer.make_directories(posixpath.dirname(path))
            node.writer.write(path, content)
        after, before = _run(node, facts.executable, check.after), None
        if check.before is not None and (check.prints or after.status != 0):
            before = _run(node, facts.executable, check.before)
    if after.status != 0:
        refusal = after.reason.replace(directory, "")
        told = check.excused is not None and check.excused in refusal
        excused = told and before is not None and _same_complaint(before, after)
        if after.status in CANNOT_BE_RUN or excused:
            log.warning("config.unchecked", "the engine's binary can't judge", reason=refusal)
            return
        raise EngineRejectedError(
            f"{facts.executable} refuses the config that would result: {refusal}",
            "nothing was written",
        )
    log.step("config.checked", "the engine's own binary loads the result", by=facts.executable)
    if not check.prints or before is None or before.status != 0:
        return
    decode = adapter.effective
    if any(each.now is None and each.base is not None for each in plan.differing):
        # A file that was lost comes back: what the engine makes of none says nothing of it.
        return
    surprises = adapter.unintended(
        decode(before.output),
        decode(after.output),
        _meant(request, record),
    )
    if surprises:
        raise EngineRejectedError(
            f"the change would also alter {'; '.join(surprises)}",
            "nothing was written; name the file to edit with --config or --drop-in-config",
        )


def _run(node: Node, executable: str, arguments: tuple[str, ...]) -> CommandResult:
    return node.commands.run((executable, *arguments), STAGED_SECONDS)


def _meant(request: ConfigRequest, record: Record | None) -> ConfigRequest:
    """Return what may differ: with what is wanted now, also what an earlier set-up wanted."""
    if record is None:
        return request
    earlier = tuple(RuntimeHandler(name=name, binary_path=path) for name, path in record.handlers)
    desired = replace(
        request.desired,
        handlers=(*request.desired.handlers, *earlier),
        default=request.desired.default or record.default,
    )
    return replace(request, desired=desired)


def _same_complaint(one: CommandResult, other: CommandResult) -> bool:
    """Tell whether two refusals say the same, whatever files they name."""
    return one.status != 0 and _PATH.sub("", one.reason) == _PATH.sub("", other.reason)


def _edit(change: FileChange) -> FileEdit:
    return FileEdit(
        path=change.path,
        before=change.now,
        after=change.after,
        format=change.format,
        role=change.role,
    )
