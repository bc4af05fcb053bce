"""The engine's files as they would be without us: what a plan starts from and a revert aims at.

For a file in the journal that is ``merge3(before, ours, now)``: an edit that somebody made under
our change stays, and nothing of our own change does.
"""

from __future__ import annotations

from collections.abc import Callable

from runtime_configs.adapter import EngineAdapter
from runtime_configs.formats.merge import merge3
from runtime_configs.model import ConfigError, EngineName, HostView, Role
from toolkit.errors import EngineConfigError
from toolkit.journal.record import FileRecord, Record, State, digest_of

Adapters = Callable[[EngineName], EngineAdapter]


def baselines(
    record: Record | None,
    view: HostView,
    blob: Callable[[str | None], bytes | None],
    adapters: Adapters,
    *,
    lost: Callable[[str], bool] = lambda _path: True,
) -> dict[str, bytes | None]:
    """Return each journalled file as it would be now without us.

    ``lost`` tells of a top-level config that somebody deleted whether it has to come back. Raises
    EngineConfigError for one that somebody left in a form that can't be merged.
    """
    found: dict[str, bytes | None] = {}
    for each in () if record is None else record.files:
        now = view.read(each.path)
        if restore_if_deleted(each) and now is None and lost(each.path):
            found[each.path] = blob(each.before)
            continue
        if record is not None and record.state is State.REVERTING and digest_of(now) == each.start:
            found[each.path] = blob(each.before)
            continue
        adapter = None if record is None or record.engine is None else adapters(record.engine)
        found[each.path] = strip_our_changes(each, blob(each.before), blob(each.ours), now, adapter)
    return found


def restore_if_deleted(file: FileRecord) -> bool:
    """Tell whether a file that somebody deleted is rather one that was lost.

    An engine with ``--config`` does not start without the file, and with our handlers alone it
    would lack the settings of this site.
    """
    return file.role is Role.TOP_LEVEL and file.before is not None


def strip_our_changes(
    file: FileRecord,
    before: bytes | None,
    ours: bytes | None,
    now: bytes | None,
    adapter: EngineAdapter | None,
) -> bytes | None:
    """Return what a file holds now without what ``ours`` added to ``before``.

    In a form that the engine can run with, where an adapter is given. Raises EngineConfigError for
    one that somebody left in a form that can't be merged.
    """
    merge = merge3 if adapter is None else adapter.strip_our_changes
    try:
        return merge(before, ours, now, file.format, path=file.path)
    except ConfigError as error:
        raise engine_config_error(error) from error


def engine_config_error(error: ConfigError) -> EngineConfigError:
    """Return an adapter's error as one of the daemon's."""
    return EngineConfigError(f"{error.path}: {error.message}", error.hint)
