"""The words that adapters and the daemon share: handlers wanted and served, edits of files."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol, TypeVar

from msgspec import Struct, field


class EngineName(StrEnum):
    """An engine that has an adapter."""

    CONTAINERD = "containerd"
    CRIO = "crio"
    DOCKER = "docker"


Entry = TypeVar("Entry")


def of_engine(table: Mapping[EngineName, Entry], engine: EngineName, where: str) -> Entry:
    """Return an engine's entry of a table; ``where`` names the table and its file.

    Raises LookupError, which says where the entry is missing: no engine gets another one's.
    """
    try:
        return table[engine]
    except KeyError:
        raise LookupError(f"{engine} is missing from {where}: add it there") from None


class Format(StrEnum):
    """How a file's bytes are understood when changes are merged."""

    TOML = "toml"
    JSON = "json"
    TEXT = "text"
    """Merged by keys where it is TOML but for ``{{ … }}``, else by its lines: templates, YAML."""
    OPAQUE = "opaque"
    """Compared as a whole, never merged: a file that is entirely ours, such as an OCI hook."""


class Role(StrEnum):
    """What a file is to the engine."""

    TOP_LEVEL = "top-level config"
    DROP_IN = "drop-in config"
    IMPORTED = "imported config"
    TEMPLATE = "template"
    HOOK = "OCI hook"


class ConfigError(Exception):
    """A file of the engine that can't be understood or must not be edited.

    ``path`` is the file on the host, ``hint`` what to do about it.
    """

    def __init__(self, path: str, message: str, hint: str = "") -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message
        self.hint = hint


class Version(Struct, frozen=True, kw_only=True):
    """An engine's version, compared by its numbers alone (a pre-release counts as the release)."""

    major: int
    minor: int
    patch: int = 0
    text: str = ""
    """As the engine prints it, such as ``v2.1.0-rc.1`` or ``1.6.20~ds1``."""

    @property
    def numbers(self) -> tuple[int, int, int]:
        """Major, minor and patch, for comparisons."""
        return (self.major, self.minor, self.patch)


class RuntimeHandler(Struct, frozen=True, kw_only=True):
    """One handler that we add: its name and the wrapper's path on the host."""

    name: str
    binary_path: str


class DesiredHandlers(Struct, frozen=True, kw_only=True):
    """What the engine should serve once we are done."""

    handlers: tuple[RuntimeHandler, ...]
    """The main handler first, then ``nvidia-cdi`` and ``nvidia-legacy``."""
    default: str | None = None
    """The handler to be made the default one; None leaves the engine's own default as it is."""
    runtime_type: str = "io.containerd.runc.v2"
    """``runtime_type`` of a containerd handler where none is inherited."""
    enable_cdi: bool | None = None
    """``enable_cdi`` / ``features.cdi``: made true where True, else left alone."""
    container_annotations: tuple[str, ...] = ()
    """``container_annotations`` of each containerd handler."""
    override: Mapping[str, object] = field(default_factory=dict)
    """Merged into each containerd handler's table last (``--runtime-config-override``)."""


class ServedHandler(Struct, frozen=True, kw_only=True):
    """One handler as the engine reports it."""

    name: str
    binary_path: str | None
    """The low-level runtime's binary (containerd: ``options.BinaryName``); None where not named."""
    runtime_type: str | None
    table: Mapping[str, object]
    """The handler's whole table, with the engine's own name for each key."""
    flaw: str = ""
    """Why its pods do not start the binary, as far as the table itself tells; else empty."""


class EffectiveConfig(Struct, frozen=True, kw_only=True):
    """What the engine has in force, as read from it or from its dump command."""

    handlers: Mapping[str, ServedHandler]
    default: str | None
    raw: Mapping[str, object]
    """The whole document, decoded, for comparing before and after."""
    disabled: str | None = None
    """Why no handler can ever be served (``disabled_plugins`` names the CRI plugin), else None."""


class FileEdit(Struct, frozen=True, kw_only=True):
    """A file whose bytes should change. ``None`` stands for a file that is not there."""

    path: str
    """On the host, as the engine would open it."""
    before: bytes | None
    after: bytes | None
    format: Format
    role: Role


class OwnFile(Struct, frozen=True, kw_only=True):
    """A file that holds a setup of ours, as told by its content alone."""

    edit: FileEdit
    """From what it holds to what it would without us."""
    certain: bool
    """False where another installer in the same directory could have written the same."""


class EditSet(Struct, frozen=True, kw_only=True):
    """The edits of one plan, in the order in which they are safe to write."""

    edits: tuple[FileEdit, ...] = ()
    notes: tuple[str, ...] = ()
    """What a person should know: why a file was chosen, what was taken over."""


class HostView(Protocol):
    """How an adapter looks at the host's files; paths are host paths. Reading only."""

    def read(self, path: str) -> bytes | None:
        """Return the file's bytes, or None where there is no file."""

    def glob(self, pattern: str) -> tuple[str, ...]:
        """Return what matches a pattern of ``go_pattern``, directories too, in ``glob_order``."""

    def is_directory(self, path: str) -> bool:
        """Tell whether there is a directory itself, not a link to one."""
