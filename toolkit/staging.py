"""Let the engine's own binary load files as they would be, before anything live is touched."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from runtime_configs.adapter import ConfigRequest, EngineAdapter
from runtime_configs.model import EditSet, FileEdit
from toolkit import logs
from toolkit.engine.facts import HostFacts
from toolkit.errors import EngineRejectedError
from toolkit.host.commands import CommandResult
from toolkit.journal import FileRecord
from toolkit.node import Node
from toolkit.plan import Plan

log = logs.get(__name__)

CANNOT_BE_RUN = (126, 127)
"""Exit statuses of a program that is not there or not executable."""
_PATH = re.compile(r"/[^\s:'\"]+")
STAGED_SECONDS = 20.0
"""How long the engine's binary may take to load a config of any size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What the engine's binary made of files."""

    result: CommandResult
    reason: str
    """Why it refuses them, without the names of staged copies."""
    excused: str | None
    prints: bool

    @property
    def refused(self) -> bool:
        """Whether it does."""
        return self.result.status != 0 and self.result.status not in CANNOT_BE_RUN


def check_staged(node: Node, plan: Plan) -> None:
    """Let the engine's own binary load the result. Raises EngineRejectedError.

    What the result means is held against what the files mean without us: only what is wanted may
    differ.
    """
    facts, request = plan.facts, plan.request
    if facts is None or request is None:
        return
    adapter = node.adapter(facts.engine)
    took = logs.stopwatch()
    after = load_staged(node, facts, request, (each.edit for each in plan.differing))
    if after is None:
        return
    before = None
    if after.prints or after.refused:
        before = load_staged(node, facts, request, (each.edit_to_base for each in plan.changes))
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


def refusal(
    node: Node,
    facts: HostFacts,
    request: ConfigRequest,
    files: Iterable[tuple[FileRecord, bytes | None]],
) -> str | None:
    """Return why the engine's binary does not load its files with these contents; None if it does.

    None also where it can't be asked.
    """
    edits = (
        FileEdit(path=each.path, before=None, after=content, format=each.format, role=each.role)
        for each, content in files
    )
    found = load_staged(node, facts, request, edits)
    if found is None or not found.refused or (found.excused and found.excused in found.reason):
        return None
    return found.reason


def load_staged(
    node: Node, facts: HostFacts, request: ConfigRequest, edits: Iterable[FileEdit]
) -> Loaded | None:
    """Let the engine's binary load copies of its files with edits; None where that can't be."""
    if facts.executable is None:
        return None
    with node.store.staging() as directory:
        check = node.adapter(facts.engine).staged_check(
            EditSet(edits=tuple(edits)), request, node.view, directory
        )
        if check is None:
            return None
        for path, content in check.files:
            node.writer.make_directories(posixpath.dirname(path))
            node.writer.write(path, content)
        result = node.commands.run((facts.executable, *check.arguments), STAGED_SECONDS)
    return Loaded(
        result=result,
        reason=result.reason.replace(directory, ""),
        excused=check.excused,
        prints=check.prints,
    )


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
