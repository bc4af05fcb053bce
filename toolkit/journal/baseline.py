"""The engine's files without our changes: where a plan starts, and what a revert restores.

For a file in the journal that is ``merge3(before, ours, now)``: an admin's later edit stays, our
change goes.
"""

from __future__ import annotations

from collections.abc import Callable

from runtime_configs.adapter import EngineAdapter
from runtime_configs.formats.merge import merge3
from runtime_configs.model import ConfigError, EngineName, FileEdit, HostView, Role
from toolkit.errors import EngineConfigError
from toolkit.journal.record import FileRecord, Record, State, digest_of


def baselines(
    record: Record,
    view: HostView,
    blob: Callable[[str | None], bytes | None],
    adapters: Callable[[EngineName], EngineAdapter],
    *,
    lost: Callable[[str], bool] = lambda _path: True,
) -> dict[str, bytes | None]:
    """Return each journalled file as it would be now without our changes.

    ``lost`` decides whether a deleted top-level config must be restored. Raises EngineConfigError
    for a file whose present form cannot be merged.
    """
    adapter = None if record.engine is None else adapters(record.engine)
    reverting = record.state is State.REVERTING
    found: dict[str, bytes | None] = {}
    for each in record.files:
        now, before = view.read(each.path), blob(each.before)
        is_lost = now is None and restore_if_deleted(each) and lost(each.path)
        if is_lost or (reverting and digest_of(now) == each.start):
            found[each.path] = before
        else:
            found[each.path] = strip_our_changes(each, before, blob(each.ours), now, adapter)
    return found


def restore_if_deleted(file: FileRecord) -> bool:
    """Return whether a deleted file counts as lost and must be restored.

    An engine with ``--config`` does not start without the file, and with our handlers alone it
    would lack the site's settings.
    """
    return file.role is Role.TOP_LEVEL and file.before is not None


def strip_our_changes(
    file: FileRecord,
    before: bytes | None,
    ours: bytes | None,
    now: bytes | None,
    adapter: EngineAdapter | None,
) -> bytes | None:
    """Return a file's present content without what ``ours`` added to ``before``.

    With an adapter, the result is in a form that the engine can run with. Raises EngineConfigError
    for a file whose present form cannot be merged.
    """
    edit = FileEdit(path=file.path, before=before, after=ours, format=file.format, role=file.role)
    try:
        if adapter is None:
            return merge3(before, ours, now, file.format, path=file.path)
        return adapter.strip_our_changes(edit, now)
    except ConfigError as error:
        raise engine_config_error(error) from error


def engine_config_error(error: ConfigError) -> EngineConfigError:
    """Convert an adapter's error to one of the daemon's."""
    return EngineConfigError(f"{error.path}: {error.message}", error.hint)
