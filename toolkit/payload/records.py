"""The payload on disk: the journal's record, and the state of each generation."""

from __future__ import annotations

import json
from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from toolkit.errors import JournalError
from toolkit.journal.codec import flat, parse
from toolkit.payload.manifest import Manifest

FOREIGN = "foreign"
"""Stands for the digest of another installer's tree."""
Stamp = tuple[int, ...]
Sum = tuple[Stamp, str]
"""A file's stamp, and its SHA-256 at that time."""


class PayloadRecord(Struct, frozen=True, kw_only=True):
    """What will be done, or was done, with the payload: part of the daemon's journal."""

    install_dir: str
    digest: str
    staged: str
    """Path where the generation is staged, on the host."""
    previous: str | None
    """Digest of the replaced generation, ``foreign``, or None if there was none."""
    changes: bool = True
    """False if the payload was already installed: nothing to stage, swap or undo."""
    directories: tuple[str, ...] = ()
    """Directories that the installation creates, outermost first."""
    extra: Mapping[str, object] = field(default_factory=dict)
    """Fields of a later version, preserved."""

    def to_json(self) -> dict[str, object]:
        """Return the record as a JSON document."""
        return flat(self)

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> PayloadRecord:
        """Parse a document. Raises JournalError if it is not such a record."""
        try:
            return parse(document, cls)
        except ValueError as error:
            raise JournalError(f"the journal's record of the payload: {error}") from error


class InstalledFile(Struct, frozen=True, kw_only=True):
    """One file of the installed payload."""

    path: str
    """On the host."""
    sha256: str
    stamp: Stamp | None
    """Its stamp when the installation was committed; None if it is not committed yet."""


class GenerationState(Struct, frozen=True, kw_only=True):
    """One generation, staged or installed; stored next to the journal on the host."""

    digest: str
    manifest: Manifest
    config: str
    """The ``config.toml`` that we would have written on a clean host."""
    previous: str | None
    inode: int
    """Inode of the staged directory; shows whether an exchange happened."""
    in_place: bool = False
    """Files are being replaced one by one, with a whole copy of the old tree beside them."""
    sources: Mapping[str, Sum] = field(default_factory=dict)
    """Path of each file of the payload to its checksum."""
    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    """Path of each installed file to its stamp."""

    def encode(self) -> bytes:
        """Return the JSON form."""
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
        """Parse the JSON form; return None for a damaged one, which counts as absent."""
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
        """Return the same state once its directory exists."""
        return replace(self, inode=inode)

    def replacing_in_place(self) -> GenerationState:
        """Return the same state while files are replaced or removed one by one."""
        return replace(self, in_place=True)

    def with_stamps(self, stamps: Mapping[str, Stamp]) -> GenerationState:
        """Return the same state once it is installed, with its files' stamps."""
        return replace(self, stamps=dict(stamps), in_place=False)
