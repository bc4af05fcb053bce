"""Make a merge's result valid for containerd 1.x and 2.x."""

from __future__ import annotations

from collections.abc import Mapping

from runtime_configs.containerd import keys, schema
from runtime_configs.containerd.schema import Era
from runtime_configs.formats import key_case
from runtime_configs.formats.documents import Change, load
from runtime_configs.formats.merge import merge3, rest_of
from runtime_configs.formats.our_handlers import changes_of_remains
from runtime_configs.formats.values import lookup, table
from runtime_configs.model import FileEdit, Format

NEEDED = frozenset({"runtime_type"})
"""Without it containerd rejects the handler's pods (``pkg/cri/config``, ValidatePluginConfig)."""


def strip_our_changes(edit: FileEdit, now: bytes | None) -> bytes | None:
    """Return a file without our handlers or parts of them, and with the ``runc`` that it needs.

    1.x has its built-in ``runc`` only while no file names a handler. If others added a handler
    beside ours, the ``runc`` that we wrote stays, or the engine would serve no pod. If others
    replaced the whole file, its ``runc`` is not ours. A table of a template that is conditional on
    the distribution's is removed as a whole: its rest would be unconditional.
    """
    before, ours, format, path = edit.before, edit.after, edit.format, edit.path
    if format is Format.TEXT and now not in (before, ours, None) and ours is not None:
        return _template_without_ours(before, ours, now or b"", path)
    content = merge3(before, ours, now, format, path=path, keys=keys.ROOT)
    untouched = now in (before, ours) or content == now
    if content is None or ours is None or untouched or format is not Format.TOML:
        return content
    matching = keys.matching(Era.MERGES)  # accepts the spellings of all versions
    first, written, found, left_over = (
        key_case.read(load(each or b"", format, path=path), keys.ROOT, matching)
        for each in (before, ours, now, content)
    )
    number = written.get("version", 1)
    version = number if isinstance(number, int) else 1
    place = schema.runtimes(version)
    known, wrote = (table(each, *place) for each in (first, written))
    made = wrote.keys() - known.keys() - {schema.RUNC}
    default = schema.default_name(version)
    ours_is_default = lookup(found, default) in (made & {lookup(written, default)})
    if made and not made & table(found, *place).keys() and not ours_is_default:
        return now
    changes = changes_of_remains(first, written, left_over, place, NEEDED)
    gone = {each.path[-1] for each in changes}
    left = [
        name
        for name, handler in table(left_over, *place).items()
        if isinstance(handler, Mapping) and name not in gone
    ]
    own = wrote.get(schema.RUNC)
    implicit = schema.RUNC not in known
    if left and implicit and own is not None and schema.RUNC not in left:
        changes.append(Change(path=(*place, schema.RUNC), value=own))
    if not changes:
        return content
    content = key_case.apply_spelled(content, changes, format, keys.ROOT, matching, path=path)
    return rest_of(before, ours, content, format, path=path)


def _template_without_ours(
    before: bytes | None, ours: bytes, now: bytes, path: str
) -> bytes | None:
    """Return an edited template without our tables, and with as many ends as conditions."""
    from runtime_configs.containerd import template_conditions

    known = before or b""
    made = [
        name
        for name in template_conditions.names(ours)
        if template_conditions.without_sections(known, (name,)) == known
    ]
    left = template_conditions.without_sections(now, made)
    if left == template_conditions.without_sections(ours, made):
        return before
    return merge3(
        before,
        template_conditions.without_conditions(ours, made),
        left,
        Format.TEXT,
        path=path,
        keys=keys.ROOT,
    )
