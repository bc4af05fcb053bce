"""A merge's result as containerd 1.x and 2.x can run with it."""

from __future__ import annotations

from collections.abc import Mapping

from runtime_configs.containerd import schema
from runtime_configs.documents import Change, apply_changes, load
from runtime_configs.model import Format
from runtime_configs.remains import changes_of_remains, handlers_of

NEEDED = frozenset({"runtime_type"})
"""Without it containerd refuses the handler's pods (``pkg/cri/config``, ValidatePluginConfig)."""


def without_remains(
    before: bytes | None, ours: bytes | None, content: bytes | None, *, path: str
) -> bytes | None:
    """Return a merge's result without halves of our handlers, and with the ``runc`` it needs.

    1.x has its built-in ``runc`` only while no file names a handler. Where somebody added one
    while ours were there, the ``runc`` that we wrote out stays, or the engine would serve no pod.
    """
    if content is None or ours is None or content == before:
        return content
    first, written, now = (
        load(each or b"", Format.TOML, path=path) for each in (before, ours, content)
    )
    version = written.get("version", 1)
    table = schema.runtimes(version if isinstance(version, int) else 1)
    changes = changes_of_remains(first, written, now, table, NEEDED)
    gone = {each.path[-1] for each in changes}
    left = [
        name
        for name, handler in handlers_of(now, table).items()
        if isinstance(handler, Mapping) and name not in gone
    ]
    own = handlers_of(written, table).get(schema.RUNC)
    implicit = schema.RUNC not in handlers_of(first, table)
    if left and implicit and own is not None and schema.RUNC not in left:
        changes.append(Change(path=(*table, schema.RUNC), value=own))
    if not changes:
        return content
    return apply_changes(content, changes, Format.TOML, path=path)
