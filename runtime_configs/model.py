"""Types shared by adapters and daemon: desired and served handlers, edits of files."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol, Self, TypeVar

from msgspec import Struct, field


class EngineName(StrEnum):
    """An engine with an adapter."""

    CONTAINERD = "containerd"
    CRIO = "crio"
    DOCKER = "docker"


Entry = TypeVar("Entry")


def of_engine(table: Mapping[EngineName, Entry], engine: EngineName, where: str) -> Entry:
    """Return an engine's entry of a table; ``where`` names the table and its file.

    Raises LookupError naming the place of a missing entry; there is no fallback to another engine.
    """
    try:
        return table[engine]
    except KeyError:
        raise LookupError(f"{engine} is missing from {where}: add it there") from None


class Format(StrEnum):
    """How a file's changes are merged."""

    TOML = "toml"
    JSON = "json"
    TEXT = "text"
    """Templates, YAML: merged by keys if it is TOML except for ``{{ … }}``, else by lines."""
    OPAQUE = "opaque"
    """Compared as a whole, never merged: a file that is entirely ours, such as an OCI hook."""


class Role(StrEnum):
    """The role of a file for the engine."""

    TOP_LEVEL = "top-level config"
    DROP_IN = "drop-in config"
    IMPORTED = "imported config"
    TEMPLATE = "template"
    HOOK = "OCI hook"


class ConfigError(Exception):
    """A file of the engine that is invalid or must not be edited.

    ``path`` is the file on the host, ``hint`` how to fix it.
    """

    def __init__(self, path: str, message: str, hint: str = "") -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message
        self.hint = hint


class Version(Struct, frozen=True, kw_only=True):
    """An engine's version, compared by its numbers only (a pre-release counts as the release)."""

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
    """What the engine should serve after the setup."""

    handlers: tuple[RuntimeHandler, ...]
    """The main handler first, then ``nvidia-cdi`` and ``nvidia-legacy``; none with CDI only."""
    default: str | None = None
    """The new default handler; None keeps the engine's default."""
    runtime_type: str = "io.containerd.runc.v2"
    """``runtime_type`` of a containerd handler that inherits none."""
    enable_cdi: bool | None = None
    """``enable_cdi`` / ``features.cdi``: set to true if True, else not changed."""
    container_annotations: tuple[str, ...] = ()
    """``container_annotations`` of each containerd handler."""
    override: Mapping[str, object] = field(default_factory=dict)
    """Merged into each containerd handler's table last (``--runtime-config-override``)."""


class ServedHandler(Struct, frozen=True, kw_only=True):
    """One handler as the engine reports it."""

    name: str
    binary_path: str | None
    """The low-level runtime's binary (containerd: ``options.BinaryName``); None if not named."""
    runtime_type: str | None
    table: Mapping[str, object]
    """The handler's whole table, with the engine's own name for each key."""
    flaw: str = ""
    """Why its pods do not start the binary, as far as the table shows; else empty."""

    @classmethod
    def read(cls, name: str, table: Mapping[str, object], *, binary: str, kind: str) -> Self:
        """Return a handler whose keys for the binary and the type have these names."""
        path, runtime_type = table.get(binary), table.get(kind)
        return cls(
            name=name,
            binary_path=path if isinstance(path, str) and path else None,
            runtime_type=runtime_type if isinstance(runtime_type, str) and runtime_type else None,
            table=table,
        )


class EffectiveConfig(Struct, frozen=True, kw_only=True):
    """The engine's present config, from the engine or its dump command."""

    handlers: Mapping[str, ServedHandler]
    default: str | None
    raw: Mapping[str, object]
    """The whole decoded document, for comparing before and after."""
    cdi_dirs: tuple[str, ...] | None = None
    """The directories of CDI specs; empty: CDI is disabled; None: not reported."""
    disabled: str | None = None
    """Why no handler can ever be served (``disabled_plugins`` names the CRI plugin), else None."""


class FileEdit(Struct, frozen=True, kw_only=True):
    """A file whose bytes should change. ``None`` stands for an absent file."""

    path: str
    """On the host, as the engine would open it."""
    before: bytes | None
    after: bytes | None
    format: Format
    role: Role


class OwnFile(Struct, frozen=True, kw_only=True):
    """A file that contains a setup of ours, judged by its content."""

    edit: FileEdit
    """From the present content to the content without us."""
    certain: bool
    """False if another installer in the same directory could have written the same."""


class EditSet(Struct, frozen=True, kw_only=True):
    """The edits of one plan, in a safe order of writing."""

    edits: tuple[FileEdit, ...] = ()
    notes: tuple[str, ...] = ()
    """Notes for the user: why a file was chosen, what was kept."""


class HostView(Protocol):
    """An adapter's read-only view of the host's files; paths are host paths."""

    def read(self, path: str) -> bytes | None:
        """Return the file's bytes, or None if there is no file."""

    def glob(self, pattern: str) -> tuple[str, ...]:
        """Return the matches of a ``glob`` pattern, including directories, in ``glob_order``."""

    def is_directory(self, path: str) -> bool:
        """Return whether the path is a directory itself, not a link to one."""
