"""The protocol that every engine adapter fulfils."""

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
    Format,
    HostView,
    OwnFile,
    Version,
)


class Placement(StrEnum):
    """How a distribution lets the engine's config be changed."""

    PLAIN = "plain"
    """An ordinary top-level file with optional drop-ins; the adapter decides by version."""
    DROP_IN_ONLY = "drop-in"
    """The top-level file is rendered by the distribution; only its drop-in directory is ours."""
    TEMPLATE = "template"
    """The top-level file is rendered from a template, and the template is edited."""


class ConfigRequest(Struct, frozen=True, kw_only=True):
    """All that an adapter has to know; paths are host paths."""

    desired: DesiredHandlers
    top_level: str
    drop_in: str | None
    """As the engine sees it, used in ``imports``; None where the engine has no drop-ins."""
    drop_in_declared: bool = False
    """The user named the drop-in, so its name is used as it is."""
    version: Version | None = None
    """Of the engine; None where it can't be told: then every version must read the result."""
    effective: EffectiveConfig | None = None
    """What the engine has in force before the change; None where it could not be asked."""
    previous_default: str | None = None
    """The default handler before us, which ``effective`` does not tell once ours is in force."""
    placement: Placement = Placement.PLAIN
    template: str | None = None
    """The template's path, with placement TEMPLATE."""
    use_legacy_config: bool = False
    """containerd before 1.3: ``default_runtime`` as a table instead of ``default_runtime_name``."""
    toolkit_dir: str = "/usr/local/nvidia/toolkit"
    """Where our binaries lie, on the host: a handler that points there is ours."""
    crio_hook_path: str | None = None
    """CRI-O's ``hook`` mode: the OCI hook file to write instead of handlers."""
    hook_binary: str | None = None
    """The hook's binary on the host, with ``crio_hook_path``."""
    engine_arguments: tuple[str, ...] = ()
    """The running daemon's own arguments (dockerd refuses a key that a flag sets as well)."""


OVERRIDE_IGNORED: Final = (
    "--runtime-config-override has no effect: its keys are those of a containerd handler"
)
"""A note of engines whose handlers have other keys."""


class DryRun(Struct, frozen=True, kw_only=True):
    """How the engine's own binary is asked whether it would load the edited files."""

    files: tuple[tuple[str, bytes], ...]
    """Host paths below the staging directory, with what has to lie there meanwhile."""
    arguments: tuple[str, ...]
    """Of the engine's binary, which make it load the staged files."""
    excused: str | None = None
    """What a refusal speaks of that comes from where the binary is run, and not from the files.

    It does not count where the files get the same one without us. Any other does: the running
    daemon may have loaded other files than those that lie there, and with these a restart is its
    end.
    """
    prints: bool = True
    """It prints a dump that ``effective`` decodes; False: only the exit status counts."""


class Fault(Struct, frozen=True, kw_only=True):
    """Something in the engine's files that keeps it from starting, or from serving pods."""

    path: str
    """The file on the host."""
    line: int | None
    """Counted from 1; None where no file names it."""
    message: str
    hidden: bool = False
    """A start aside does not show it, since it is about the host's own network."""

    @property
    def where(self) -> str:
        """The file with the line."""
        return self.path if self.line is None else f"{self.path}:{self.line}"

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.where}: {self.message}"


class Trial(Struct, frozen=True, kw_only=True):
    """How the engine itself is started on the edited files, where it can't change the host."""

    files: tuple[tuple[str, bytes], ...]
    """Paths below the directory, with what has to lie there meanwhile."""
    arguments: tuple[str, ...]
    until: tuple[bytes, ...]
    """What its log says once all is loaded or has failed; it is ended then."""
    refusal: Callable[[str], str | None]
    """Reads in its log why it would serve no pods; None where it would."""


class EngineAdapter(Protocol):
    """Turns an engine's current files and the wanted handlers into new bytes."""

    name: EngineName

    def edits(self, request: ConfigRequest, view: HostView) -> EditSet:
        """Return the edits that make the engine serve what is wanted; none where it already would.

        Applied twice it gives the same bytes: the result of ``edits`` on its own output is empty.
        Raises ConfigError for a file that does not parse or may not be edited.
        """

    def effective(self, dump: bytes) -> EffectiveConfig:
        """Decode what the engine reports: its dump command's output or its verbose status.

        Raises ConfigError where the bytes can't be decoded.
        """

    def unintended(
        self, before: EffectiveConfig, after: EffectiveConfig, request: ConfigRequest
    ) -> tuple[str, ...]:
        """Name each effective setting that differs between two dumps though we did not mean it to.

        One line each: key path, old value, new value; values of registry credentials are not shown.
        """

    def pending(
        self, live: EffectiveConfig, files: EffectiveConfig, request: ConfigRequest
    ) -> tuple[str, ...]:
        """Name each setting of the files without us that the running engine has not in force.

        One line each: key path, both values; secrets are not shown. What comes of our own change is
        left out.
        """

    def dry_run(
        self, edits: EditSet, request: ConfigRequest, view: HostView, directory: str
    ) -> DryRun | None:
        """Return how the engine's binary loads what edits make of its files; None: not possible.

        Nothing live is touched: includes of a staged file lead to the staged copies of edited files
        and to the live ones of all others. ``directory`` is an empty one on the host that no engine
        reads. With edits to what would be there without us it tells what those files mean.
        """

    def missing_files(
        self, edits: EditSet, request: ConfigRequest, view: HostView
    ) -> tuple[Fault, ...]:
        """Name each file that the edited files ask for and that is not there.

        The engine starts with none of them missing. Raises ConfigError for a file that does not
        parse.
        """

    def faults(self, edits: EditSet, request: ConfigRequest, view: HostView) -> tuple[Fault, ...]:
        """Name what the engine refuses in the edited files by rules that its dry run leaves out.

        Raises ConfigError for a file that does not parse.
        """

    def trial(
        self, edits: EditSet, request: ConfigRequest, view: HostView, directory: str
    ) -> Trial | None:
        """Return how the engine is started on the edited files; None where that tells no more."""

    def strip_our_changes(
        self,
        before: bytes | None,
        ours: bytes | None,
        now: bytes | None,
        kind: Format,
        *,
        path: str,
    ) -> bytes | None:
        """Return ``now`` without what ``ours`` added to ``before``, as the engine can run with it.

        A three-way merge keeps the value alone that somebody gave inside a handler of ours, and
        half a handler may stop an engine. Raises ConfigError where the content does not parse.
        """

    def own_files(self, request: ConfigRequest, view: HostView) -> tuple[OwnFile, ...]:
        """Return the files that hold a setup in ``toolkit_dir``, told by their content alone.

        For a setup that no journal names. Raises ConfigError for a file that does not parse.
        """

    def revert_stages(
        self, current: bytes | None, target: bytes | None, previous_default: str | None
    ) -> tuple[bytes, ...]:
        """Contents to be written and reloaded one after the other before ``target`` is restored.

        Empty for an engine that drops a removed key at a reload (all but docker).
        """
