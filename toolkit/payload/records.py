"""What is kept of the payload on disk: the journal's record, and the state of each generation."""

from __future__ import annotations

import json
from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from toolkit.errors import JournalError
from toolkit.payload.manifest import Manifest

FOREIGN = "foreign"
"""In place of a digest: a tree that another installer left."""
Stamp = tuple[int, ...]
Sum = tuple[Stamp, str]
"""A file's stamp and the SHA-256 that it had then."""


class PayloadRecord(Struct, frozen=True, kw_only=True):
    """What will be done, or was done, with the payload: part of the daemon's journal."""

    install_dir: str
    digest: str
    staged: str
    """Where the generation is staged, on the host."""
    previous: str | None
    """Digest of the generation that is replaced, ``foreign``, or None where there was none."""
    changes: bool = True
    """False where the payload was there already: nothing to stage, swap or undo."""
    directories: tuple[str, ...] = ()
    """Directories that the installation makes, outermost first."""
    extra: Mapping[str, object] = field(default_factory=dict)
    """Fields of a later version, kept as they are."""

    def to_json(self) -> dict[str, object]:
        """Return the text form's document."""
        return {
            **self.extra,
            "install_dir": self.install_dir,
            "digest": self.digest,
            "staged": self.staged,
            "previous": self.previous,
            "changes": self.changes,
            "directories": list(self.directories),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> PayloadRecord:
        """Read it back. Raises JournalError for a document that is no such record."""
        rest = dict(document)
        try:
            install_dir = rest.pop("install_dir")
            digest = rest.pop("digest")
            staged = rest.pop("staged")
            previous = rest.pop("previous")
            changes = rest.pop("changes", True)
            directories = rest.pop("directories", ())
        except KeyError as error:
            raise JournalError(f"the journal's record of the payload lacks {error}") from error
        if not isinstance(directories, list | tuple):
            raise JournalError("the journal's record of the payload: directories is not a list")
        return cls(
            install_dir=str(install_dir),
            digest=str(digest),
            staged=str(staged),
            previous=None if previous is None else str(previous),
            changes=bool(changes),
            directories=tuple(map(str, directories)),
            extra=rest,
        )


class InstalledFile(Struct, frozen=True, kw_only=True):
    """One file of the installed payload."""

    path: str
    """On the host."""
    sha256: str
    stamp: Stamp | None
    """As it was when the installation was committed; None: it is not committed yet."""


class GenerationState(Struct, frozen=True, kw_only=True):
    """One generation that was staged or is installed; beside the journal on the host."""

    digest: str
    manifest: Manifest
    config: str
    """The ``config.toml`` that we would have written on a clean host."""
    previous: str | None
    inode: int
    """Of the staged directory: by it an exchange is known to have happened."""
    in_place: bool = False
    """Files are being replaced one by one, and a whole copy of what comes back lies beside."""
    sources: Mapping[str, Sum] = field(default_factory=dict)
    """Path of each file of the payload: its sum."""
    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    """Path of each installed file: its stamp."""

    def encode(self) -> bytes:
        """Return the text form."""
        document = {
            "digest": self.digest,
            "manifest": self.manifest.to_json(),
            "config": self.config,
            "previous": self.previous,
            "inode": self.inode,
            "in_place": self.in_place,
            "sources": {name: [*stamp, sha] for name, (stamp, sha) in self.sources.items()},
            "stamps": {name: list(stamp) for name, stamp in self.stamps.items()},
        }
        return json.dumps(document).encode() + b"\n"

    @classmethod
    def decode(cls, content: bytes) -> GenerationState | None:
        """Read it back; None for one that is damaged, which counts as none at all."""
        try:
            document = json.loads(content)
            return cls(
                digest=document["digest"],
                manifest=Manifest.from_json(document["manifest"]),
                config=document["config"],
                previous=document["previous"],
                inode=document["inode"],
                in_place=document["in_place"],
                sources={
                    name: (tuple(values[:-1]), values[-1])
                    for name, values in document["sources"].items()
                },
                stamps={name: tuple(values) for name, values in document["stamps"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def staged_as(self, inode: int) -> GenerationState:
        """Return the same state once its directory is made."""
        return replace(self, inode=inode)

    def replacing_in_place(self) -> GenerationState:
        """Return the same state while files are replaced or removed one by one."""
        return replace(self, in_place=True)

    def with_stamps(self, stamps: Mapping[str, Stamp]) -> GenerationState:
        """Return the same state once it is installed, with its files' stamps."""
        return replace(self, stamps=dict(stamps), in_place=False)
