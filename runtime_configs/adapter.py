"""The protocol of every engine adapter."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final, Protocol

from msgspec import Struct

from runtime_configs.model import (
    DesiredHandlers,
    EditSet,
    EffectiveConfig,
    EngineName,
    FileEdit,
    HostView,
    OwnFile,
    Version,
)
from runtime_configs.overlay import Overlay


class Placement(StrEnum):
    """How a distribution allows the engine's config to be changed."""

    PLAIN = "plain"
    """An ordinary top-level file with optional drop-ins; the adapter decides by version."""
    DROP_IN_ONLY = "drop-in"
    """The distribution renders the top-level file; only its drop-in directory is ours."""
    TEMPLATE = "template"
    """The top-level file is rendered from a template, and the template is edited."""


class ConfigRequest(Struct, frozen=True, kw_only=True):
    """The input of an adapter; paths are host paths."""

    desired: DesiredHandlers
    top_level: str
    drop_in: str | None
    """As the engine sees it, used in ``imports``; None if the engine has no drop-ins."""
    drop_in_declared: bool = False
    """Whether the user named the drop-in, so that its name is used unchanged."""
    version: Version | None = None
    """The engine's version; None if not known: then the result must suit every version."""
    effective: EffectiveConfig | None = None
    """The engine's present config before the change; None if it could not be asked."""
    previous_default: str | None = None
    """The default handler before us, which ``effective`` no longer shows once ours is in force."""
    placement: Placement = Placement.PLAIN
    template: str | None = None
    """The template's path, with placement TEMPLATE."""
    use_legacy_config: bool = False
    """containerd before 1.3: ``default_runtime`` as a table instead of ``default_runtime_name``."""
    toolkit_dir: str = "/usr/local/nvidia/toolkit"
    """The host directory of our binaries: a handler that points there is ours."""
    crio_hook_path: str | None = None
    """CRI-O's ``hook`` mode: the OCI hook file to write instead of handlers."""
    hook_binary: str | None = None
    """The hook's binary on the host, with ``crio_hook_path``."""
    engine_arguments: tuple[str, ...] = ()
    """The running daemon's arguments (dockerd rejects a key that is also set by a flag)."""

    def is_ours(self, binary: object) -> bool:
        """Return whether a handler's binary is in our directory."""
        return isinstance(binary, str) and binary.startswith(f"{self.toolkit_dir.rstrip('/')}/")


OVERRIDE_IGNORED: Final = (
    "--runtime-config-override has no effect: its keys are those of a containerd handler"
)
"""A note for engines whose handlers have other keys."""


class DryRun(Struct, frozen=True, kw_only=True):
    """How to ask the engine's binary whether it would load the edited files."""

    files: tuple[tuple[str, bytes], ...]
    """Host paths below the staging directory, with their contents."""
    arguments: tuple[str, ...]
    """Arguments of the engine's binary that make it load the staged files."""
    excused: str | None = None
    """Text of an error that comes from where the binary runs, not from the files.

    Such an error is ignored if the files without us cause it too. No other error is: the running
    daemon may have loaded different files from the present ones, and would not survive a restart
    with these.
    """
    prints: bool = True
    """Whether it prints a dump for ``effective``; False: only the exit status counts."""


class Fault(Struct, frozen=True, kw_only=True):
    """Something in the engine's files that prevents its start, or its serving of pods."""

    path: str
    """The file on the host."""
    line: int | None
    """Counted from 1; None if no file names it."""
    message: str
    hidden: bool = False
    """A trial start does not show it, because it concerns the host's own network."""

    @property
    def where(self) -> str:
        """The file with the line."""
        return self.path if self.line is None else f"{self.path}:{self.line}"

    def __str__(self) -> str:
        """Return the fault as one line."""
        return f"{self.where}: {self.message}"


class Trial(Struct, frozen=True, kw_only=True):
    """How to start the engine itself on the edited files, without effect on the host."""

    files: tuple[tuple[str, bytes], ...]
    """Paths below the directory, with their contents."""
    arguments: tuple[str, ...]
    until: tuple[bytes, ...]
    """Log texts that mark the end of loading, or its failure; the engine is stopped then."""
    failure: Callable[[str], str | None]
    """Returns the reason in its log why it would serve no pods; None if it would."""


class EngineAdapter(Protocol):
    """Turns an engine's current files and the desired handlers into new bytes."""

    name: EngineName

    def edits(self, request: ConfigRequest, view: HostView) -> EditSet:
        """Return the edits with which the engine serves the desired handlers, if any are needed.

        Idempotent: ``edits`` on its own output returns none. Raises ConfigError for a file that
        does not parse or must not be edited.
        """

    def effective(self, dump: bytes) -> EffectiveConfig:
        """Decode the engine's report: its dump command's output or its verbose status.

        Raises ConfigError if the bytes cannot be decoded.
        """

    def unintended(
        self, before: EffectiveConfig, after: EffectiveConfig, request: ConfigRequest
    ) -> tuple[str, ...]:
        """Describe each effective setting that changed between two dumps without our intent.

        One line each: key path, old value, new value; registry credentials are not shown. None for
        an engine whose dry run prints no dump.
        """
        del before, after, request
        return ()

    def pending(
        self, live: EffectiveConfig, files: EffectiveConfig, request: ConfigRequest
    ) -> tuple[str, ...]:
        """Describe each setting of the files without us that the running engine does not use.

        One line each: key path, both values; secrets are not shown. Differences caused by our own
        change are left out.
        """

    def dry_run(self, request: ConfigRequest, view: HostView, directory: str) -> DryRun | None:
        """Return how the engine's binary loads the edited files of ``view``; None if it cannot.

        The live files are not touched: includes of a staged file lead to the staged copies of
        edited files, and to the live ones of all others. ``directory`` is an empty host directory
        that no engine reads.
        """

    def missing_files(self, request: ConfigRequest, edited: Overlay) -> tuple[Fault, ...]:
        """Return each file that the edited files name and that does not exist.

        The engine does not start if one is missing. Nothing where no file names another. Raises
        ConfigError for a file that does not parse.
        """
        del request, edited
        return ()

    def faults(self, request: ConfigRequest, edited: Overlay) -> tuple[Fault, ...]:
        """Return what the engine would reject in the edited files but its dry run does not check.

        Raises ConfigError for a file that does not parse.
        """

    def trial(self, request: ConfigRequest, view: HostView, directory: str) -> Trial | None:
        """Return how to start the engine on the edited files; None if that adds nothing."""
        del request, view, directory
        return None

    def strip_our_changes(self, edit: FileEdit, now: bytes | None) -> bytes | None:
        """Return a file's present content without our edit; the engine accepts the result.

        A plain three-way merge would keep a single edited value of one of our handlers, and half a
        handler may stop an engine. Raises ConfigError if the content does not parse.
        """

    def own_files(self, request: ConfigRequest, view: HostView) -> tuple[OwnFile, ...]:
        """Return the files that contain a setup in ``toolkit_dir``, judged by their content.

        For a setup that no journal names. Raises ConfigError for a file that does not parse.
        """

    def interim_content(
        self, current: bytes | None, target: bytes | None, default: str | None
    ) -> bytes | None:
        """Return a content to reload before ``target`` is written, which has this default handler.

        None for an engine that drops a removed key at a reload (all but docker).
        """
        del current, target, default
        return None
