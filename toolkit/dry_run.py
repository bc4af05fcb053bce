"""Let the engine's own binary load files as they would be, before anything live is touched."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from msgspec import Struct

from runtime_configs.adapter import ConfigRequest
from runtime_configs.model import EditSet, FileEdit
from toolkit import logs
from toolkit.engine.facts import HostFacts
from toolkit.host.commands import CommandResult
from toolkit.journal.record import FileRecord
from toolkit.node import Node

log = logs.get(__name__)

CANNOT_BE_RUN = (126, 127)
"""Exit statuses of a program that is not there or not executable."""
_PATH = re.compile(r"/[^\s:'\"]+")
STAGED_SECONDS = 20.0
"""How long the engine's binary may take to load a config of any size."""


class Loaded(Struct, frozen=True, kw_only=True):
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
    found = dry_run(node, facts, request, edits)
    if found is None or not found.refused or (found.excused and found.excused in found.reason):
        return None
    return found.reason


def dry_run(
    node: Node, facts: HostFacts, request: ConfigRequest, edits: Iterable[FileEdit]
) -> Loaded | None:
    """Let the engine's binary load copies of its files with edits; None where that can't be."""
    if facts.executable is None:
        return None
    with node.store.staging() as directory:
        check = node.adapter(facts.engine).dry_run(
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
