"""The daemon's view of the payload: plan, stage, swap, undo, commit and remove."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from toolkit.errors import ConcurrentEditError
from toolkit.host.clock import Clock
from toolkit.host.commands import CommandRunner, HostCommands
from toolkit.host.paths import HostRoot
from toolkit.host.writer import FileWriter
from toolkit.payload.cdi import Cdi
from toolkit.payload.generation import Generations
from toolkit.payload.manifest import EntryKind
from toolkit.payload.records import FOREIGN, GenerationState, InstalledFile, PayloadRecord
from toolkit.payload.source import MODES, RUNTIME, PayloadSource, find_payload
from toolkit.payload.wrappers import CONFIG_PATH, CONFIG_PATHS
from toolkit.settings import Settings

if TYPE_CHECKING:
    from toolkit.payload.contents import Contents
    from toolkit.payload.low_level import LowLevelRuntimes


class PayloadAction(StrEnum):
    """What an installation would do."""

    INSTALL = "install"
    REPLACE = "replace"
    UNCHANGED = "unchanged"


class PayloadPlan(Struct, frozen=True, kw_only=True):
    """What would be installed, and whether anything would be written."""

    action: PayloadAction
    digest: str
    toolkit_dir: str
    """On the host: ``<install dir>/toolkit``."""
    source: str
    """Path of the payload, as this process sees it."""
    size: int
    """Bytes of all files."""
    notes: tuple[str, ...] = ()
    state: GenerationState
    """The state that would be recorded."""
    written: Contents
    """What would be written; its ``config.toml`` may contain an administrator's settings."""
    edited: bytes | None = None
    """The installed ``config.toml`` that these settings are from; None where they are not read."""

    @property
    def changes(self) -> bool:
        """Whether anything would be written."""
        return self.action is not PayloadAction.UNCHANGED


class PayloadInstaller:
    """The payload of one node. It changes the host only through the writer."""

    def __init__(
        self,
        *,
        settings: Settings,
        root: HostRoot,
        writer: FileWriter,
        commands: CommandRunner | None = None,
    ) -> None:
        """Set the paths; reads nothing yet. ``commands`` runs programs outside the host root."""
        self._settings = settings
        self._root = root
        self._install_dir = root.host_path(settings.install_dir)
        self.cdi = Cdi(
            settings=settings, root=root, writer=writer, commands=commands or HostCommands("/")
        )
        self._generations = Generations(install_dir=self._install_dir, root=root, writer=writer)
        self._writer = writer

    def plan(self, low_level: LowLevelRuntimes) -> PayloadPlan:
        """Compare the payload with what is installed; reads only.

        Raises PayloadError naming everything that is missing, MisfitError with each reason why the
        payload does not fit this host.
        """
        from toolkit.payload.contents import contents_of, source_sums
        from toolkit.payload.runtime_config import config_toml

        source = find_payload(self._settings.payload, self._root)
        before = self._generations.state()
        sums = source_sums(source, before)
        ours = config_toml(
            source.config,
            settings=self._settings,
            toolkit_dir=self._generations.directory,
            runtimes=low_level.paths,
            exists=lambda path: Path(self._root.access(path)).exists(),
        )
        edited = None if before is None else self._content(self._config_path)
        config, notes = self._config(ours, before, edited)
        lay_out = partial(
            contents_of,
            source,
            sums,
            toolkit_dir=self._generations.directory,
            engine_runtime=low_level.engine_runtime,
            require_driver=self._settings.payload.require_driver,
        )
        clean, written = lay_out(config=ours), lay_out(config=config)
        state = GenerationState(
            digest=clean.manifest.digest,
            entries=clean.manifest.entries,
            config=ours.decode(),
            previous=self._generations.previous(),
            inode=0,
            sources=sums,
        )
        action = self._action(state, before, written)
        if action is not PayloadAction.UNCHANGED:
            from toolkit.payload.preflight import MisfitError, problems_of

            problems = problems_of(
                source, self._root, install_dir=self._install_dir, size=written.manifest.size
            )
            if problems:
                raise MisfitError("; ".join(problems))
        return PayloadPlan(
            action=action,
            digest=state.digest,
            toolkit_dir=self._generations.directory,
            source=str(source.root),
            size=written.manifest.size,
            notes=(*_notes(source), *notes),
            state=state,
            written=written,
            edited=edited,
        )

    def intent(self, plan: PayloadPlan) -> PayloadRecord:
        """Return what will be done; it must be on disk before ``stage`` is called."""
        return PayloadRecord(
            install_dir=self._install_dir,
            digest=plan.digest,
            staged=self._generations.staged_path(plan.digest),
            previous=self._generations.previous(),
            changes=plan.changes,
            directories=self._writer.missing_directories(self._install_dir),
        )

    def stage(self, plan: PayloadPlan, clock: Clock) -> None:
        """Copy the payload beside the installed one, durably, and check it; can be interrupted."""
        if plan.changes:
            self._generations.stage(plan.state, plan.written, clock)

    def swap(self, record: PayloadRecord) -> None:
        """Put the staged generation in place."""
        if record.changes:
            self._generations.swap(record)

    def require_edits_kept(self, plan: PayloadPlan, record: PayloadRecord) -> None:
        """Raise ConcurrentEditError if ``config.toml`` was edited between the plan and the swap."""
        replaced = self._content(posixpath.join(self._generations.replaced(record), CONFIG_PATH))
        if plan.edited is not None and replaced not in (None, plan.edited):
            raise ConcurrentEditError(
                f"{self._config_path} was modified by another process while being written",
                "run again",
            )

    def undo(self, record: PayloadRecord) -> None:
        """Restore the earlier state, however far a crash let the change get; can be repeated."""
        self.cdi.undo()
        if record.changes:
            self._generations.undo(record)
            self.remove_directories(record)

    def commit(self, record: PayloadRecord) -> None:
        """Make the installation final; can be repeated. The journal is committed before this."""
        self.cdi.commit()
        if record.changes:
            self._generations.commit(record)

    def remove(self, record: PayloadRecord) -> None:
        """Remove the payload if it is still ours, and restore another installer's."""
        self.cdi.remove()
        self._generations.remove()
        self.remove_directories(record)

    def remove_directories(self, record: PayloadRecord) -> None:
        """Remove the directories that the installation created, if empty."""
        for path in reversed(record.directories):
            self._writer.remove_directory(path)

    def installed(self) -> str | None:
        """Return the digest of the installed payload; None if it is absent, damaged or not ours.

        A generation counts as soon as it is swapped in, committed or not.
        """
        for state in (self._generations.swapped_in(), self._generations.state()):
            if state is not None and self._generations.intact(state):
                return state.digest
        return None

    def programs(self, binary: str) -> tuple[InstalledFile, ...]:
        """Return the installed files behind a binary on the host; none if it is not ours.

        They are its wrapper and the program behind it, which the runtimes of one mode may share.
        """
        directory, name = posixpath.split(binary)
        state = self._generations.swapped_in() or self._generations.state()
        if state is None or posixpath.normpath(directory) != self._generations.directory:
            return ()
        files = {each.path: each for each in state.entries if each.kind is EntryKind.FILE}
        behind = f"{name}.real"
        if name in MODES and behind not in files:
            behind = f"{RUNTIME}.real"
        return tuple(
            InstalledFile(
                path=posixpath.join(self._generations.directory, each),
                sha256=files[each].sha256,
                stamp=state.stamps.get(each),
            )
            for each in (name, behind)
            if each in files
        )

    def is_foreign(self) -> bool:
        """Return whether another installer's tree is in the toolkit directory's place."""
        return self._generations.previous() == FOREIGN

    def unrecorded(self) -> PayloadRecord | None:
        """Return a record of a tree of ours that no journal names; None if there is none."""
        digest = self._generations.previous()
        if digest is None or digest == FOREIGN:
            return None
        return PayloadRecord(
            install_dir=self._install_dir,
            digest=digest,
            staged=self._generations.staged_path(digest),
            previous=None,
        )

    def restores_foreign(self) -> bool:
        """Return whether ``remove`` also restores another installer's tree."""
        return self._generations.restores_foreign()

    @property
    def _config_path(self) -> str:
        return posixpath.join(self._generations.directory, CONFIG_PATH)

    def _content(self, path: str) -> bytes | None:
        now = self._writer.read(path)
        return None if now is None else now.content

    def _config(
        self, ours: bytes, before: GenerationState | None, edited: bytes | None
    ) -> tuple[bytes, tuple[str, ...]]:
        """Return the file to write: ours, with an administrator's edits."""
        if before is None or edited is None or edited == before.config.encode():
            return ours, ()
        from toolkit.payload.runtime_config import keep_edits

        kept = keep_edits(before.config.encode(), edited, ours, self._config_path)
        return kept, (f"{self._config_path} was edited by hand; the edit is kept",)

    def _action(
        self, state: GenerationState, before: GenerationState | None, written: Contents
    ) -> PayloadAction:
        if not self._generations.present():
            return PayloadAction.INSTALL
        if before is None or before.digest != state.digest:
            return PayloadAction.REPLACE
        has_configs = all(
            self._content(posixpath.join(self._generations.directory, path))
            == written.files.get(path)
            for path in CONFIG_PATHS
        )
        same = has_configs and self._generations.intact(before)
        return PayloadAction.UNCHANGED if same else PayloadAction.REPLACE


def _notes(source: PayloadSource) -> Iterator[str]:
    """Describe what the payload lacks, and what is done about it."""
    for name in source.missing:
        yield f"missing, left out: {name}"
    if source.substituted:
        yield (
            f"not in the payload: {', '.join(source.substituted)}; {RUNTIME} replaces them, with a"
            " config for each mode"
        )
